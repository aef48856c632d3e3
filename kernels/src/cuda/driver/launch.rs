//! Kernel launches: from a name to a grid of blocks.

use super::error::{Result, check};
use super::source::Source;
use super::{Cuda, DeviceBuffer};
use cudarc::driver::sys::{self, CUfunction, CUfunction_attribute};
use std::ffi::c_void;

/// A kernel argument, passed by value.
#[derive(Clone, Copy)]
pub(in crate::cuda) enum Arg<'a> {
    /// The address of a buffer, or null.
    Address(u64),
    /// `int` or `unsigned`.
    Int(i32),
    /// `uint64_t`.
    Long(u64),
    /// `float`.
    Float(f32),
    /// A struct with the same layout as its counterpart in the source (`repr(C)`).
    Struct(&'a [u8]),
}

impl From<&DeviceBuffer> for Arg<'_> {
    fn from(buffer: &DeviceBuffer) -> Self {
        Self::Address(buffer.address())
    }
}

impl From<&mut DeviceBuffer> for Arg<'_> {
    fn from(buffer: &mut DeviceBuffer) -> Self {
        Self::Address(buffer.address())
    }
}

impl From<Option<&DeviceBuffer>> for Arg<'_> {
    fn from(buffer: Option<&DeviceBuffer>) -> Self {
        Self::Address(buffer.map_or(0, DeviceBuffer::address))
    }
}

impl From<f32> for Arg<'_> {
    fn from(value: f32) -> Self {
        Self::Float(value)
    }
}

impl From<u64> for Arg<'_> {
    fn from(value: u64) -> Self {
        Self::Long(value)
    }
}

impl From<i32> for Arg<'_> {
    fn from(value: i32) -> Self {
        Self::Int(value)
    }
}

/// Converts a size to a kernel's `int`; operations reject sizes of 2³¹ and above when they check their shapes.
impl From<usize> for Arg<'_> {
    fn from(value: usize) -> Self {
        Self::Int(i32::try_from(value).expect("a size that fits a kernel's int"))
    }
}

impl<'a, T: bytemuck::NoUninit> From<&'a [T; 1]> for Arg<'a> {
    fn from(value: &'a [T; 1]) -> Self {
        Self::Struct(bytemuck::cast_slice(value))
    }
}

impl Arg<'_> {
    /// The size in bytes, as the kernel declares it.
    fn bytes(&self) -> usize {
        match self {
            Self::Address(_) | Self::Long(_) => 8,
            Self::Int(_) | Self::Float(_) => 4,
            Self::Struct(bytes) => bytes.len(),
        }
    }

    fn pointer(&self) -> *mut c_void {
        let pointer: *const c_void = match self {
            Self::Address(value) | Self::Long(value) => std::ptr::from_ref(value).cast(),
            Self::Int(value) => std::ptr::from_ref(value).cast(),
            Self::Float(value) => std::ptr::from_ref(value).cast(),
            Self::Struct(bytes) => bytes.as_ptr().cast(),
        };
        pointer.cast_mut()
    }
}

/// The number of blocks, threads per block, and shared memory of a launch.
#[derive(Clone, Copy, Debug)]
pub(in crate::cuda) struct Grid {
    /// Blocks along x, y and z; at most 65,535 along the last two.
    pub blocks: [usize; 3],
    /// Threads per block.
    pub threads: usize,
    /// Bytes of shared memory per block.
    pub shared: usize,
}

impl Grid {
    /// `blocks` blocks of `threads` threads.
    pub fn of(blocks: usize, threads: usize) -> Self {
        Self { blocks: [blocks, 1, 1], threads, shared: 0 }
    }

    /// One thread per item, in blocks of 256.
    pub fn over(items: usize) -> Self {
        Self::of(items.div_ceil(256), 256)
    }

    /// This grid with `bytes` of shared memory.
    pub fn shared(self, bytes: usize) -> Self {
        Self { shared: bytes, ..self }
    }
}

/// The bytes of shared memory that a block gets without opting in.
const PLAIN_SHARED: usize = 48 << 10;

impl Cuda {
    /// Runs `kernel` of `module`; does nothing if the grid is empty.
    ///
    /// # Errors
    /// If the module does not compile, or the device rejects the launch.
    ///
    /// # Safety
    /// The arguments must match the kernel's parameters, and on this grid every access through them must stay inside
    /// the buffers: the caller states the bound.
    pub(in crate::cuda) unsafe fn launch(
        &self,
        module: &Source,
        kernel: &'static str,
        grid: Grid,
        args: &[Arg],
    ) -> Result<()> {
        if grid.blocks.contains(&0) {
            return Ok(());
        }
        let function = self.function(module, kernel)?;
        self.bind()?;
        if self.is_emulated() {
            check_arguments(kernel, function, args);
        }
        if grid.shared > PLAIN_SHARED {
            let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function's module stays loaded.
            check(kernel, unsafe { sys::cuFuncSetAttribute(function, attribute, grid.shared as i32) })?;
        }
        let mut pointers: Vec<*mut c_void> = args.iter().map(Arg::pointer).collect();
        let [x, y, z] = grid.blocks.map(|n| n as u32);
        // SAFETY: one pointer per argument, each to a value that outlives the call, which copies it; the caller
        // guarantees the rest.
        let code = unsafe {
            sys::cuLaunchKernel(
                function,
                x,
                y,
                z,
                grid.threads as u32,
                1,
                1,
                grid.shared as u32,
                self.stream(),
                pointers.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        };
        check(kernel, code)
    }

    fn function(&self, module: &Source, kernel: &'static str) -> Result<CUfunction> {
        let modules = &self.inner().modules;
        super::module::function(self, modules, module, kernel)
    }
}

/// Asserts that the arguments match the compiled kernel's parameters in number and size, so that each `repr(C)`
/// struct matches its counterpart. Only on the emulator: the tests launch every kernel there, and drivers before
/// CUDA 12.4 lack the query.
fn check_arguments(kernel: &str, function: CUfunction, args: &[Arg]) {
    let size_of = |index: usize| {
        let (mut offset, mut bytes) = (0, 0);
        // SAFETY: the function's module stays loaded; writes two numbers.
        let code = unsafe { sys::cuFuncGetParamInfo(function, index, &mut offset, &mut bytes) };
        (code == sys::CUresult::CUDA_SUCCESS).then_some(bytes)
    };
    let compiled: Vec<usize> = (0..).map_while(size_of).collect();
    let given: Vec<usize> = args.iter().map(Arg::bytes).collect();
    assert_eq!(given, compiled, "{kernel}: argument sizes, given and compiled");
}
