"""Prints the test programs of the package in a folder: programs.py FOLDER, from Cargo's messages on standard input
(`cargo test --no-run --message-format=json`)."""

import json
import os
import sys

manifest = os.path.realpath(os.path.join(sys.argv[1], "Cargo.toml"))
for line in sys.stdin:
    message = json.loads(line)
    # Messages of other kinds have other fields.
    if message["reason"] != "compiler-artifact" or os.path.realpath(message["manifest_path"]) != manifest:
        continue
    if message["executable"] and message["profile"]["test"]:
        print(message["executable"])
