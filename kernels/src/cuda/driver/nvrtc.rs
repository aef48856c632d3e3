//! NVIDIA's run-time compiler: compiles a source to machine code for one architecture.

use super::error::{CudaError, Result};
use super::library;
use super::source::{HEADERS, Source};
use cudarc::nvrtc::sys::{self, nvrtcProgram, nvrtcResult};
use std::ffi::{CStr, CString, c_char};

/// Machine code and the compiler's reports about it.
pub struct Cubin {
    /// The image that the driver loads.
    pub image: Vec<u8>,
    /// Each kernel's resource usage.
    pub usage: Vec<Usage>,
    /// The assembler's performance warnings, such as wgmmas that wait for each other.
    pub losses: Vec<String>,
}

/// A kernel's use of a multiprocessor's resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The kernel.
    pub kernel: String,
    /// Registers per thread.
    pub registers: usize,
    /// Bytes per thread spilled from registers, stores plus loads.
    pub spills: usize,
    /// Bytes of local memory per thread.
    pub stack: usize,
    /// Bytes of shared memory per block; per element, for an array whose length depends on the work.
    pub shared: usize,
}

/// The flags of every compilation, except the architecture.
const FLAGS: [&str; 3] = ["--std=c++17", "--ptxas-options=-v", "--device-as-default-execution-space"];

/// The compiler's version, such as `13.0`.
///
/// # Errors
/// If NVRTC is not installed.
pub fn version() -> Result<String> {
    library::load_nvrtc()?;
    let (mut major, mut minor) = (0, 0);
    // SAFETY: writes two ints.
    match unsafe { sys::nvrtcVersion(&mut major, &mut minor) } {
        nvrtcResult::NVRTC_SUCCESS => Ok(format!("{major}.{minor}")),
        code => Err(CudaError::Missing(format!("nvrtcVersion: {code:?}"))),
    }
}

/// Compiles `source` for `arch`, such as `sm_90a`.
///
/// # Errors
/// If NVRTC is not installed, or the source does not compile; the latter error holds the compiler's log.
pub fn compile(source: &Source, arch: &str) -> Result<Cubin> {
    library::load_nvrtc()?;
    let failed = |log: String| CudaError::Compile {
        file: source.name.to_string(),
        target: arch.to_string(),
        log: log.trim().to_string(),
    };
    let c = |text: &str| CString::new(text).map_err(|_| failed("a NUL in the source".into()));
    let (text, name) = (c(source.text)?, c(source.name)?);
    let headers: Vec<CString> = HEADERS.iter().map(|h| c(h.text)).collect::<Result<_>>()?;
    let names: Vec<CString> = HEADERS.iter().map(|h| c(h.name)).collect::<Result<_>>()?;
    let pointers = |strings: &[CString]| strings.iter().map(|s| s.as_ptr()).collect::<Vec<_>>();
    let flags = FLAGS.iter().map(|f| f.to_string()).chain([format!("--gpu-architecture={arch}")]);
    let flags: Vec<CString> = flags.map(|f| c(&f)).collect::<Result<_>>()?;
    let ok = |what: &str, code: nvrtcResult| match code {
        nvrtcResult::NVRTC_SUCCESS => Ok(()),
        code => Err(failed(format!("{what}: {code:?}"))),
    };
    let mut program = Program(std::ptr::null_mut());
    // SAFETY: every string is zero-terminated and outlives the call; both arrays have the given number of entries.
    let created = unsafe {
        sys::nvrtcCreateProgram(
            &mut program.0,
            text.as_ptr(),
            name.as_ptr(),
            headers.len() as i32,
            pointers(&headers).as_ptr(),
            pointers(&names).as_ptr(),
        )
    };
    ok("nvrtcCreateProgram", created)?;
    // SAFETY: the program exists; the array has the given number of flags.
    let compiled =
        unsafe { sys::nvrtcCompileProgram(program.0, flags.len() as i32, pointers(&flags).as_ptr()) };
    let log = program.text(sys::nvrtcGetProgramLogSize, sys::nvrtcGetProgramLog);
    if compiled != nvrtcResult::NVRTC_SUCCESS {
        return Err(failed(log));
    }
    let mut bytes = 0;
    // SAFETY: a compiled program; writes one length.
    ok("nvrtcGetCUBINSize", unsafe { sys::nvrtcGetCUBINSize(program.0, &mut bytes) })?;
    let mut image = vec![0u8; bytes];
    // SAFETY: `image` has the reported size of the code.
    ok("nvrtcGetCUBIN", unsafe { sys::nvrtcGetCUBIN(program.0, image.as_mut_ptr().cast()) })?;
    let ptx = program.text(sys::nvrtcGetPTXSize, sys::nvrtcGetPTX);
    let losses = log.lines().filter(|line| line.contains("Performance Loss")).map(String::from).collect();
    Ok(Cubin { image, usage: usage(&log, &ptx), losses })
}

/// A compiler program, destroyed when dropped.
struct Program(nvrtcProgram);

impl Program {
    /// A text of the program: `size` reports its length and `get` writes it. Empty if there is none.
    fn text(
        &self,
        size: unsafe fn(nvrtcProgram, *mut usize) -> nvrtcResult,
        get: unsafe fn(nvrtcProgram, *mut c_char) -> nvrtcResult,
    ) -> String {
        let mut len = 0;
        // SAFETY: the program exists; writes one length.
        let known = unsafe { size(self.0, &mut len) } == nvrtcResult::NVRTC_SUCCESS;
        let mut text = vec![0u8; if known { len } else { 0 } + 1];
        if known {
            // SAFETY: `text` has room for the reported length, which includes the closing zero.
            unsafe { get(self.0, text.as_mut_ptr().cast()) };
        }
        CStr::from_bytes_until_nul(&text).map_or(String::new(), |text| text.to_string_lossy().into_owned())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: it exists and is no longer used.
            unsafe { sys::nvrtcDestroyProgram(&mut self.0) };
        }
    }
}

/// Parses the reports of `ptxas -v` in the log, and of `shared_memory` (device.cuh) in the PTX:
///
/// ```text
/// ptxas info    : Compiling entry function 'relu' for 'sm_90a'
///     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
/// ptxas info    : Used 12 registers, used 0 barriers
///
/// .visible .entry relu(
///     // shared 1024
/// ```
fn usage(log: &str, ptx: &str) -> Vec<Usage> {
    let before = |line: &str, unit: &str| {
        let (number, _) = line.split_once(unit)?;
        number.trim().rsplit([' ', ',']).next()?.parse::<usize>().ok()
    };
    let mut found: Vec<Usage> = Vec::new();
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            let kernel = rest.split('\'').next().unwrap_or_default().to_string();
            found.push(Usage { kernel, registers: 0, spills: 0, stack: 0, shared: 0 });
        }
        let Some(last) = found.last_mut() else { continue };
        if let Some(stack) = before(line, " bytes stack frame") {
            last.stack = stack;
            let bytes = |unit: &str| before(line, unit).unwrap_or(0);
            last.spills = bytes(" bytes spill stores") + bytes(" bytes spill loads");
        }
        if let Some(registers) = before(line, " registers") {
            last.registers = registers;
        }
    }
    let mut kernel = None;
    for line in ptx.lines() {
        if let Some((_, entry)) = line.split_once(".entry ") {
            let name = entry.split('(').next();
            kernel = found.iter_mut().find(|usage| Some(usage.kernel.as_str()) == name);
        }
        let bytes = line.trim().strip_prefix("// shared ").and_then(|bytes| bytes.parse().ok());
        if let (Some(usage), Some(bytes)) = (&mut kernel, bytes) {
            usage.shared = usage.shared.max(bytes);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiler_reports_are_parsed() {
        let log = "ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'a' for 'sm_90a'
ptxas info    : Function properties for a
    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 8 bytes cumulative stack size
ptxas info    : Compile time = 2.1 ms
ptxas info    : Compiling entry function 'b' for 'sm_90a'
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 10 registers, used 0 barriers";
        let ptx = "
.visible .entry b(
	.param .u64 b_param_0
)
	// begin inline asm
	// shared 1024
	// end inline asm
	// begin inline asm
	// shared 512
.visible .entry a(
	ret;";
        let expected = [("a", 255, 16, 8, 0), ("b", 10, 0, 0, 1024)];
        let expected = expected.map(|(kernel, registers, spills, stack, shared)| Usage {
            kernel: kernel.to_string(),
            registers,
            spills,
            stack,
            shared,
        });
        assert_eq!(usage(log, ptx), expected);
    }
}
