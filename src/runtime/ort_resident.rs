//! Tensors that stay where ONNX Runtime computes: bound to a session's inputs and outputs, never copied between steps.

use std::sync::Arc;

use ndarray::ArrayD;
use ort::{
    memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType},
    session::{RunOptions, Session},
    value::{DynTensor, Tensor},
};

use super::{
    backend::{Advanced, Array, Feed, Resident},
    options::Device,
    ort_backend::floats,
    quiet::one_line,
};
use crate::core::error::{Error, Result};

/// Memory of the device.
pub(super) fn memory(device: Device) -> ort::Result<MemoryInfo<'static>> {
    match device {
        Device::Auto | Device::Cpu => here(),
        Device::Cuda(n) | Device::TensorRt(n) => {
            MemoryInfo::new(AllocationDevice::CUDA, n as i32, AllocatorType::Device, MemoryType::Default)
        }
    }
}

/// Memory of the processor.
fn here() -> ort::Result<MemoryInfo<'static>> {
    MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::CPUOutput)
}

/// A tensor of the processor.
pub(super) fn tensor(array: &Array) -> ort::Result<DynTensor> {
    // Owned and row-major: what the session is given must outlive the call.
    Ok(match array {
        Array::F32(a) => Tensor::from_array(a.as_standard_layout().into_owned())?.upcast(),
        Array::I64(a) => Tensor::from_array(a.as_standard_layout().into_owned())?.upcast(),
    })
}

/// Copies a tensor to the device.
pub(super) fn send(value: DynTensor, device: Device) -> ort::Result<DynTensor> {
    match device {
        Device::Auto | Device::Cpu => Ok(value),
        Device::Cuda(n) | Device::TensorRt(n) => value.to(AllocationDevice::CUDA, n as i32),
    }
}

/// Copies an array to the device.
pub fn hold(array: Array, device: Device) -> ort::Result<Resident> {
    Ok(Resident::new(Arc::new(send(tensor(&array)?, device)?)))
}

/// Copies a tensor from the device.
pub fn fetch(resident: &Resident) -> Result<ArrayD<f32>> {
    fetch_tensor(resident.get::<Arc<DynTensor>>()?)
}

/// The same for what a resident holds.
pub(super) fn fetch_tensor(value: &DynTensor) -> Result<ArrayD<f32>> {
    let failed = |e: ort::Error| Error::Engine(format!("a picture could not be copied from the device: {}", one_line(&e.to_string())));
    let not_numbers = || Error::Engine("a value on the device is not a tensor of numbers".into());
    if value.memory_info().is_cpu_accessible() {
        return value.try_extract_array::<f32>().map(|a| a.to_owned()).map_err(failed);
    }
    let copy = value.to(AllocationDevice::CPU, 0).map_err(failed)?;
    floats(&copy.into_dyn()).map(|f| f.into_owned()).ok_or_else(not_numbers)
}

/// Runs a session once on bound tensors. Outputs are bound anew for each run: one that stayed bound would be written over by the
/// next run while that reads it.
pub fn advance(
    session: &mut Session,
    options: &RunOptions,
    device: Device,
    inputs: &[(&str, Feed)],
    keep: &[&str],
    read: &[&str],
) -> Result<Advanced> {
    let failed = |e: ort::Error| Error::Engine(format!("ONNX Runtime could not run the graph: {}", one_line(&e.to_string())));
    let mut binding = session.create_binding().map_err(failed)?;
    for (name, feed) in inputs {
        match feed {
            Feed::Held(resident) => binding.bind_input(*name, resident.get::<Arc<DynTensor>>()?.as_ref()).map_err(failed)?,
            Feed::Sent(array) => binding.bind_input(*name, &tensor(array).map_err(failed)?).map_err(failed)?,
        }
    }
    let (there, here) = (memory(device).map_err(failed)?, here().map_err(failed)?);
    for (names, place) in [(keep, &there), (read, &here)] {
        for name in names {
            binding.bind_output_to_device(*name, place).map_err(failed)?;
        }
    }
    let mut results = session.run_binding_with_options(&binding, options).map_err(failed)?;
    let mut take = |name: &str| results.remove(name).ok_or_else(|| Error::Engine(format!("the graph has no output '{name}'")));
    let mut kept = Vec::new();
    for name in keep {
        let value: DynTensor = take(name)?.downcast().map_err(failed)?;
        kept.push(Resident::new(Arc::new(value)));
    }
    let mut arrays = Vec::new();
    for name in read {
        let value = take(name)?;
        let array = floats(&value).ok_or_else(|| Error::Engine(format!("output '{name}' is not a tensor of numbers")))?;
        arrays.push(array.into_owned());
    }
    Ok((kept, arrays))
}
