//! Weights where they lie in the file: mapped, not read, and taken by candle's kernels as they are.
//!
//! candle packs a weight at its first use and keeps what it packed from. Here that is the page cache, which costs no
//! memory of the process once [`MappedFile::release`] has let go of it. What is packed remains: on x86 1.33 times the
//! bytes of Q4_K and 1.52 times those of Q6_K (tiles of 3072 and 5120 bytes for 16 blocks of 144 and 210, in candle's
//! `repack_x86.rs`), which makes 1.35 times the file of a Mistral-7B in Q4_K_M; on ARM about as much as the file. It is
//! the only module with unsafe code.
#![expect(unsafe_code, reason = "mapping a file, and reading its bytes as the blocks of numbers that they are")]

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use candle_core::quantized::k_quants::{self, BlockQ4K, BlockQ6K, BlockQ8_0, GgmlType};
use candle_core::quantized::{GgmlDType, QuantizedType};
use candle_core::{CpuStorage, Result, bail};
use memmap2::Mmap;

/// A file in memory, read when touched. It must not be changed or cut short while it is mapped: replace it by renaming
/// another over it.
pub(super) struct MappedFile(Mmap);

impl MappedFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // SAFETY: the mapping is shared and read-only. Nothing in this process writes to the file; of other processes
        // the documentation asks the same, as every program that maps its models does.
        unsafe { Mmap::map(&file) }.map(Self)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Gives the file's pages back to the system; they return when touched.
    pub(super) fn release(&self) {
        #[cfg(unix)]
        // SAFETY: what MADV_DONTNEED forgets of a file mapped read-only is read from the file again.
        let advised = unsafe { self.0.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
        #[cfg(unix)]
        if let Err(error) = advised {
            tracing::debug!(%error, "the model file's pages stay in memory");
        }
    }
}

/// The types that are used as they lie in the file.
///
/// # Safety
///
/// Any bytes are a value of the type.
unsafe trait Plain: GgmlType + 'static {}
// SAFETY: `repr(C)` of f16, u8 and i8 without padding: candle asserts their sizes.
unsafe impl Plain for BlockQ4K {}
// SAFETY: as above.
unsafe impl Plain for BlockQ6K {}
// SAFETY: as above.
unsafe impl Plain for BlockQ8_0 {}

/// The blocks of one weight.
struct Blocks<T> {
    file: Arc<MappedFile>,
    range: Range<usize>,
    of: PhantomData<fn() -> T>,
}

/// The weight in `range` of the file; none where its type is not used as it lies, or the place is not aligned.
pub(super) fn blocks(file: &Arc<MappedFile>, range: Range<usize>, dtype: GgmlDType) -> Option<Box<dyn QuantizedType>> {
    match dtype {
        GgmlDType::Q4K => Blocks::<BlockQ4K>::boxed(file, range),
        GgmlDType::Q6K => Blocks::<BlockQ6K>::boxed(file, range),
        GgmlDType::Q8_0 => Blocks::<BlockQ8_0>::boxed(file, range),
        _ => None,
    }
}

impl<T: Plain> Blocks<T> {
    fn boxed(file: &Arc<MappedFile>, range: Range<usize>) -> Option<Box<dyn QuantizedType>> {
        let bytes = file.bytes().get(range.clone())?;
        let fits = bytes.len().is_multiple_of(size_of::<T>()) && bytes.as_ptr().cast::<T>().is_aligned();
        fits.then(|| Box::new(Self { file: Arc::clone(file), range, of: PhantomData }) as Box<dyn QuantizedType>)
    }

    fn as_slice(&self) -> &[T] {
        let bytes = &self.file.bytes()[self.range.clone()];
        // SAFETY: `boxed` saw that the range is inside the file, aligned for T and a multiple of its size; any bytes
        // are a T; the mapping lives as long as `self`.
        unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<T>()) }
    }
}

/// What candle does for its own `Vec` of blocks.
impl<T: Plain> QuantizedType for Blocks<T> {
    fn dtype(&self) -> GgmlDType {
        T::DTYPE
    }

    fn matmul_t(&self, mkn: (usize, usize, usize), lhs: &[f32], dst: &mut [f32]) -> Result<()> {
        k_quants::matmul(mkn, lhs, self.as_slice(), dst)
    }

    fn matmul_t_f16(&self, mkn: (usize, usize, usize), lhs: &[half::f16], dst: &mut [half::f16]) -> Result<()> {
        k_quants::matmul_f16(mkn, lhs, self.as_slice(), dst)
    }

    fn embedding(&self, ids: &[u32], rows: usize, hidden: usize) -> Result<CpuStorage> {
        let (blocks, row_blocks) = (self.as_slice(), hidden / T::BLCK_SIZE);
        let mut out = vec![0f32; ids.len() * hidden];
        for (row, &id) in out.chunks_exact_mut(hidden).zip(ids) {
            let start = id as usize * row_blocks;
            match blocks.get(start..start + row_blocks) {
                Some(blocks) if (id as usize) < rows => T::to_float(blocks, row),
                _ => bail!("embedding of token {id}, and there are {rows}"),
            }
        }
        Ok(CpuStorage::F32(out))
    }

    fn dequantize(&self, elem_count: usize) -> Result<CpuStorage> {
        let mut out = vec![0f32; elem_count];
        T::to_float(self.as_slice(), &mut out);
        Ok(CpuStorage::F32(out))
    }

    fn storage_size_in_bytes(&self) -> usize {
        self.range.len()
    }

    fn as_ptr(&self) -> *const u8 {
        self.file.bytes()[self.range.clone()].as_ptr()
    }

    fn block_size(&self) -> usize {
        T::BLCK_SIZE
    }

    /// Only weights made anew are quantised into; a file's are not written to.
    fn from_float(&mut self, _: &[f32]) {
        debug_assert!(false, "a weight of a file is not written to");
    }

    fn from_float_imatrix(&mut self, _: &[f32], _: &[f32], _: usize) {
        debug_assert!(false, "a weight of a file is not written to");
    }

    fn size(&self) -> usize {
        self.range.len()
    }
}
