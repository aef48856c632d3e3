"""Runs a command on a terminal of its own, and types a line behind each question: terminal.py QUESTION ANSWERS COMMAND…

QUESTION is the end of a question, ANSWERS has a letter for each. Prints what the terminal showed; the exit status is the command's.
"""

import os
import pty
import sys

question, answers, command = sys.argv[1].encode(), list(sys.argv[2]), sys.argv[3:]
process, terminal = pty.fork()
if process == 0:
    os.execv(command[0], command)
shown, answered = b"", 0
while True:
    try:
        part = os.read(terminal, 4096)
    except OSError:  # Linux reports the end of the command as an error.
        break
    if not part:
        break
    shown += part
    while shown.count(question) > answered and answers:
        os.write(terminal, answers.pop(0).encode() + b"\n")
        answered += 1
_, status = os.waitpid(process, 0)
print(shown.decode(errors="replace"))
sys.exit(os.waitstatus_to_exitcode(status))
