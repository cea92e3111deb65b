//! Results of candle's fast kernels in candle's graph, each with the way back written out: those kernels have none, and
//! what candle would keep for it takes several times the memory.

use std::sync::Mutex;

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp3, Layout, MetalStorage, Result, Shape, Storage, Tensor, bail,
};

/// A result that is computed already and enters the graph once.
struct Known<F> {
    result: Mutex<Option<Tensor>>,
    back: F,
}

impl<F> Known<F> {
    fn new(result: Tensor, back: F) -> Self {
        Self { result: Mutex::new(Some(result)), back }
    }

    /// The numbers of the result, by `of` from where they are.
    fn give<S: BackendStorage>(&self, of: impl Fn(&Storage) -> Option<&S>) -> Result<(S, Shape)> {
        let Some(result) = self.result.lock().ok().and_then(|mut result| result.take()) else {
            bail!("a known result enters the graph once");
        };
        let (storage, layout) = result.storage_and_layout();
        match of(&storage) {
            Some(storage) if layout.is_contiguous() && layout.start_offset() == 0 => {
                Ok((storage.try_clone(layout)?, result.shape().clone()))
            }
            _ => bail!("a known result lies on the device of what it is made from, as a whole"),
        }
    }

    fn cpu(&self) -> Result<(CpuStorage, Shape)> {
        self.give(|storage| if let Storage::Cpu(storage) = storage { Some(storage) } else { None })
    }

    fn cuda(&self) -> Result<(CudaStorage, Shape)> {
        self.give(|storage| if let Storage::Cuda(storage) = storage { Some(storage) } else { None })
    }

    fn metal(&self) -> Result<(MetalStorage, Shape)> {
        self.give(|storage| if let Storage::Metal(storage) = storage { Some(storage) } else { None })
    }
}

/// Made from `x`: the gradient of `x` from `x`, the result and the result's gradient.
struct One<F>(Known<F>);

impl<F: Fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor>> CustomOp1 for One<F> {
    fn name(&self) -> &'static str {
        "known"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.0.cpu()
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.0.cuda()
    }

    fn metal_fwd(&self, _: &MetalStorage, _: &Layout) -> Result<(MetalStorage, Shape)> {
        self.0.metal()
    }

    fn bwd(&self, x: &Tensor, result: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        (self.0.back)(&x.detach(), &result.detach(), gradient).map(Some)
    }
}

/// `result`, which was computed from `x`, in the graph: `back` gives the gradient of `x` from `x`, `result` and the
/// gradient of `result`.
pub(super) fn known(
    x: &Tensor,
    result: Tensor,
    back: impl Fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<Tensor> {
    x.apply_op1(One(Known::new(result, back)))
}

/// Made from three tensors.
struct Three<F>(Known<F>);

impl<F: Fn([&Tensor; 3], &Tensor) -> Result<[Tensor; 3]>> CustomOp3 for Three<F> {
    fn name(&self) -> &'static str {
        "known"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.0.cpu()
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.0.cuda()
    }

    fn metal_fwd(
        &self,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        self.0.metal()
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [a, b, c] = (self.0.back)([&a.detach(), &b.detach(), &c.detach()], gradient)?;
        Ok((Some(a), Some(b), Some(c)))
    }
}

/// The same for a result that was computed from three tensors.
pub(super) fn known_of_three(
    from: [&Tensor; 3],
    result: Tensor,
    back: impl Fn([&Tensor; 3], &Tensor) -> Result<[Tensor; 3]> + Send + Sync + 'static,
) -> Result<Tensor> {
    from[0].apply_op3(from[1], from[2], Three(Known::new(result, back)))
}
