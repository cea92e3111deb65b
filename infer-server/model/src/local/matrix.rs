//! A matrix of weights: in a type that is multiplied fast, and what its blocks have added.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use candle_core::quantized::{QMatMul, QStorage, QTensor};
use candle_core::{D, DType, Device, Module as _, Result, Tensor, bail};
use rayon::prelude::*;

use super::mapped::MappedFile;
use crate::quantize::dtype::Dtype;
use crate::quantize::recode::{fast_type, recode};

/// Numbers that a thread says in f32 at a time: 256 kB, which stays in its core's cache until they are where they belong.
const PIECE: usize = 1 << 16;

/// `[outputs, inputs]`. Clones share it.
#[derive(Clone)]
pub(super) struct Matrix {
    weight: Weight,
    /// What each group of a row's numbers has added, `[outputs, groups]`.
    added: Option<Tensor>,
}

#[derive(Clone)]
enum Weight {
    /// `[outputs, inputs]`: by candle's kernels for quantised numbers, or on a device that is no CPU.
    Rows(QMatMul),
    /// f32 on a CPU, `[inputs, outputs]`: gemm takes numbers of neighbouring outputs as they lie, and copies any others anew at
    /// every product, which took a fifth of a pass of 256 tokens and half of one of 32.
    Columns(Tensor, FileRows),
}

/// The rows of a matrix where they lie in a file.
#[derive(Clone)]
pub(super) struct FileRows {
    pub(super) file: Arc<MappedFile>,
    pub(super) place: Range<usize>,
    pub(super) dtype: Dtype,
    /// Rows and columns.
    pub(super) shape: [usize; 2],
}

impl FileRows {
    fn bytes(&self) -> &[u8] {
        &self.file.bytes()[self.place.clone()]
    }

    /// Some of them in f32; none as in [`numbers`].
    fn read(&self, ids: &[u32]) -> Result<Option<Tensor>> {
        let [rows, columns] = self.shape;
        let (all, row_bytes) = (self.bytes(), self.place.len() / rows.max(1));
        let mut bytes = Vec::with_capacity(ids.len() * row_bytes);
        for id in ids {
            let at = *id as usize * row_bytes;
            match all.get(at..at + row_bytes) {
                Some(row) => bytes.extend_from_slice(row),
                None => bail!("row {id} of a matrix that has {rows}"),
            }
        }
        numbers(&bytes, self.dtype, [ids.len(), columns])
    }
}

/// Numbers as they lie in a file in f32, on one core; none where they are of no type that is computed with.
fn numbers(bytes: &[u8], dtype: Dtype, shape: [usize; 2]) -> Result<Option<Tensor>> {
    let Dtype::Candle(dtype) = dtype else {
        let matrix = Matrix::read(bytes, dtype, shape, &Device::Cpu)?;
        return matrix.map(|matrix| matrix.numbers(&Device::Cpu)).transpose();
    };
    // Through a buffer of its own, which is aligned wherever the numbers begin in the file.
    let storage = QStorage::from_data(Cow::Owned(bytes.to_vec()), &Device::Cpu, dtype)?;
    QTensor::new(storage, (shape[0], shape[1]))?.dequantize(&Device::Cpu).map(Some)
}

impl Matrix {
    pub(super) fn new(weight: QMatMul, added: Option<Tensor>) -> Self {
        Self { weight: Weight::Rows(weight), added }
    }

    /// Quantised numbers as they lie in a file, `[outputs, inputs]`: in their own type where that is fast, else in another; none
    /// where there is none.
    pub(super) fn read(bytes: &[u8], dtype: Dtype, shape: [usize; 2], device: &Device) -> Result<Option<Self>> {
        let [rows, columns] = shape;
        let mut added = None;
        let storage = match (fast_type(dtype), dtype) {
            (Some((faster, group)), _) => {
                let Some(recoded) = recode(bytes, dtype) else { return Ok(None) };
                if let Some(group) = group {
                    added = Some(Tensor::from_vec(recoded.added, (rows, columns / group), device)?);
                }
                QStorage::from_data(Cow::Owned(recoded.data), device, faster)?
            }
            (None, Dtype::Candle(dtype)) => QStorage::from_data(Cow::Owned(bytes.to_vec()), device, dtype)?,
            (None, Dtype::Iq4Nl | Dtype::Iq4Xs) => return Ok(None),
        };
        let weight = QMatMul::from_qtensor(QTensor::new(storage, (rows, columns))?)?;
        Ok(Some(Self::new(weight, added)))
    }

    /// The numbers that lie in a file in f32, said on all cores of a CPU; none as in [`numbers`].
    pub(super) fn plain(from: FileRows) -> Result<Option<Self>> {
        let [rows, columns] = from.shape;
        let mut numbers = vec![0f32; rows * columns];
        let at_once = (PIECE / columns.max(1)).clamp(1, rows.max(1));
        let row_bytes = from.place.len() / rows.max(1);
        // What some rows become: a part of each column.
        let mut pieces: Vec<Vec<&mut [f32]>> =
            (0..rows.div_ceil(at_once)).map(|_| Vec::with_capacity(columns)).collect();
        for column in numbers.chunks_exact_mut(rows.max(1)) {
            pieces.iter_mut().zip(column.chunks_mut(at_once)).for_each(|(piece, part)| piece.push(part));
        }
        let pieces = pieces.into_par_iter().zip(from.bytes().par_chunks((at_once * row_bytes).max(1)));
        let said = pieces.map(|(parts, bytes)| -> Result<bool> {
            let count = parts.first().map_or(0, |part| part.len());
            let Some(piece) = self::numbers(bytes, from.dtype, [count, columns])? else {
                return Ok(false);
            };
            let piece = piece.flatten_all()?.to_vec1::<f32>()?;
            for (column, part) in parts.into_iter().enumerate() {
                let numbers = piece[column..].iter().step_by(columns);
                part.iter_mut().zip(numbers).for_each(|(to, number)| *to = *number);
            }
            Ok(true)
        });
        if !said.try_reduce(|| true, |a, b| Ok(a && b))? {
            return Ok(None);
        }
        let numbers = Tensor::from_vec(numbers, (columns, rows), &Device::Cpu)?;
        Ok(Some(Self { weight: Weight::Columns(numbers, from), added: None }))
    }

    /// `x W^T`: `[T, inputs]` to `[T, outputs]`. What a group has added counts as often as the sum of its inputs.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = match &self.weight {
            Weight::Rows(weight) => weight.forward(x)?,
            Weight::Columns(numbers, _) => x.matmul(numbers)?,
        };
        let Some(added) = &self.added else { return Ok(y) };
        let (rows, inputs) = x.dims2()?;
        let groups = added.dim(1)?;
        let sums = x.reshape((rows, groups, inputs / groups))?.sum(D::Minus1)?;
        y + sums.matmul(&added.t()?)?
    }

    /// Multiplies more than one row, at the first of which candle packs quantised numbers.
    pub(super) fn pack(&self, device: &Device) -> Result<()> {
        let Weight::Rows(QMatMul::QTensor(weight)) = &self.weight else { return Ok(()) };
        let (_, inputs) = weight.shape().dims2()?;
        self.forward(&Tensor::zeros((2, inputs), DType::F32, device)?).map(drop)
    }

    /// Whether its numbers are quantised in memory.
    pub(super) fn is_quantised(&self) -> bool {
        matches!(self.weight, Weight::Rows(QMatMul::QTensor(_)))
    }

    /// Some of its rows: `[ids, inputs]`.
    pub(super) fn rows(&self, ids: &Tensor) -> Result<Tensor> {
        let rows = match &self.weight {
            Weight::Rows(weight) => weight.embedding(ids)?,
            Weight::Columns(_, rows) => match rows.read(&ids.to_vec1()?)? {
                Some(rows) => rows,
                None => bail!("rows of a type that is not computed with"),
            },
        };
        let Some(added) = &self.added else { return Ok(rows) };
        widened(&rows, &added.index_select(ids, 0)?)
    }

    /// Its numbers, in f32.
    pub(super) fn numbers(&self, device: &Device) -> Result<Tensor> {
        let numbers = match &self.weight {
            Weight::Rows(QMatMul::QTensor(weight)) => weight.dequantize(device)?,
            Weight::Rows(QMatMul::Tensor(weight) | QMatMul::TensorF16(weight)) => weight.to_dtype(DType::F32)?,
            Weight::Columns(numbers, _) => numbers.t()?.contiguous()?,
        };
        let Some(added) = &self.added else { return Ok(numbers) };
        widened(&numbers, added)
    }
}

/// Rows with what their groups have added.
fn widened(rows: &Tensor, added: &Tensor) -> Result<Tensor> {
    let (count, columns) = rows.dims2()?;
    let groups = added.dim(1)?;
    let rows = rows.reshape((count, groups, columns / groups))?;
    rows.broadcast_add(&added.reshape((count, groups, 1))?)?.reshape((count, columns))
}

#[cfg(test)]
mod tests {
    use candle_core::quantized::GgmlDType::{
        self, BF16, F16, F32, Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0,
    };

    use super::*;

    /// A file of random numbers in a type, mapped.
    fn file_rows(dtype: GgmlDType, [rows, columns]: [usize; 2]) -> (FileRows, Tensor) {
        let numbers: Vec<f32> = (0..rows * columns).map(|i| (i as f32 * 0.37).sin() * (1.0 + (i % 7) as f32)).collect();
        let numbers = Tensor::from_vec(numbers, (rows, columns), &Device::Cpu).unwrap();
        let quantised = QTensor::quantize(&numbers, dtype).unwrap();
        let (bytes, whole) = (quantised.data().unwrap().into_owned(), quantised.dequantize(&Device::Cpu).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        // A weight of a file may begin anywhere.
        std::fs::write(&path, [&[0][..], &bytes].concat()).unwrap();
        let file = Arc::new(MappedFile::open(&path).unwrap());
        (FileRows { file, place: 1..1 + bytes.len(), dtype: Dtype::Candle(dtype), shape: [rows, columns] }, whole)
    }

    fn bits(numbers: &Tensor) -> Vec<Vec<u32>> {
        let rows = numbers.to_vec2::<f32>().unwrap();
        rows.iter().map(|row| row.iter().map(|number| number.to_bits()).collect()).collect()
    }

    /// Each piece as the whole, to the bit: as numbers, as some rows, and in a product.
    #[test]
    fn numbers_said_by_pieces_are_those_of_the_whole() {
        // Two pieces of 256 rows and a part of one, or one that is not full.
        for shape in [[600, 256], [3, 512]] {
            for dtype in [F32, F16, BF16, Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0] {
                let (rows, whole) = file_rows(dtype, shape);
                let matrix = Matrix::plain(rows).unwrap().unwrap();
                assert_eq!(bits(&matrix.numbers(&Device::Cpu).unwrap()), bits(&whole), "{dtype:?}");
                let ids = Tensor::new(&[2u32, 0, 2], &Device::Cpu).unwrap();
                assert_eq!(bits(&matrix.rows(&ids).unwrap()), bits(&whole.index_select(&ids, 0).unwrap()), "{dtype:?}");
                let x = whole.narrow(0, 0, 3).unwrap();
                let (y, wanted) = (matrix.forward(&x).unwrap(), x.matmul(&whole.t().unwrap()).unwrap());
                let apart = (y - &wanted).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
                let most = wanted.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
                assert!(apart <= most * 1e-5, "{dtype:?}: {apart} of {most}");
                assert!(matrix.rows(&Tensor::new(&[shape[0] as u32], &Device::Cpu).unwrap()).is_err());
            }
        }
    }

    /// What candle has no type for goes through another.
    #[test]
    fn types_of_llama_cpp_alone_are_read_as_well() {
        let bytes: Vec<u8> = (0..36).map(|i| if i % 18 == 1 { 0x3c } else { (i * 37 % 256) as u8 }).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        std::fs::write(&path, &bytes).unwrap();
        let file = Arc::new(MappedFile::open(&path).unwrap());
        let from = FileRows { file, place: 0..36, dtype: Dtype::Iq4Nl, shape: [2, 32] };
        let whole = Matrix::read(&bytes, Dtype::Iq4Nl, [2, 32], &Device::Cpu).unwrap().unwrap();
        let whole = bits(&whole.numbers(&Device::Cpu).unwrap());
        let matrix = Matrix::plain(from).unwrap().unwrap();
        assert_eq!(bits(&matrix.numbers(&Device::Cpu).unwrap()), whole);
        let last = matrix.rows(&Tensor::new(&[1u32], &Device::Cpu).unwrap()).unwrap();
        assert_eq!(bits(&last), whole[1..]);
    }
}
