//! CUDA graphs: one recorded launch in place of one launch per operator.
//!
//! CUDA replays a recording at the addresses it was made with. So tensors that stay on the device cycle through a few buffers that are
//! never freed, what this program sends is copied into buffers of its own, and a recording is known by the addresses of everything it
//! reads and writes. Whatever allocates forgets all recordings: the memory of a recording's inner values goes back to the session's
//! arena, where a later buffer could land in it.

use std::{collections::HashMap, sync::Arc};

use ort::{
    memory::MemoryInfo,
    session::{IoBinding, RunOptions, Session},
    value::DynTensor,
};

use super::{
    backend::{Advanced, Feed, Resident},
    options::Device,
    ort_resident::{fetch_tensor, memory, send, tensor},
    quiet::one_line,
};
use crate::core::error::{Error, Result};

/// Most recordings of one session; a loop that needs more goes on without.
const MOST: usize = 16;

/// Address and shape of every tensor of a run, inputs before outputs.
type Addresses = Vec<(usize, Vec<i64>)>;

/// Buffers and recordings of one session.
pub struct Replay {
    device: Device,
    /// Outputs by name; one that nobody else holds is free.
    buffers: HashMap<String, Vec<Arc<DynTensor>>>,
    /// What this program sends, by input.
    sent: HashMap<String, DynTensor>,
    /// Shapes of the inputs that the buffers are for.
    shapes: Vec<Vec<i64>>,
    recordings: HashMap<Addresses, u32>,
    /// Numbers are never given twice: the session keeps what was recorded under one.
    next: u32,
}

fn failed(e: ort::Error) -> Error {
    Error::Engine(format!("ONNX Runtime could not run the graph: {}", one_line(&e.to_string())))
}

fn place(value: &DynTensor) -> (usize, Vec<i64>) {
    (value.data_ptr() as usize, value.shape().to_vec())
}

impl Replay {
    /// Nothing recorded yet.
    pub fn new(device: Device) -> Self {
        Self { device, buffers: HashMap::new(), sent: HashMap::new(), shapes: Vec::new(), recordings: HashMap::new(), next: 1 }
    }

    /// Does what [`super::ort_resident::advance`] does.
    pub fn advance(&mut self, session: &mut Session, inputs: &[(&str, Feed)], keep: &[&str], read: &[&str]) -> Result<Advanced> {
        let mut binding = session.create_binding().map_err(failed)?;
        let mut addresses = self.bind_inputs(&mut binding, inputs)?;
        let there = memory(self.device).map_err(failed)?;
        let wanted: Vec<&str> = keep.iter().chain(read).copied().collect();
        let fixed = self.bind_outputs(&mut binding, &wanted, &there, &mut addresses)?;
        let mut options = RunOptions::new().map_err(failed)?;
        options.set("gpu_graph_id", self.number(addresses, fixed)).map_err(failed)?;
        let mut results = session.run_binding_with_options(&binding, &options).map_err(failed)?;
        let mut values = Vec::new();
        for name in &wanted {
            let value = results.remove(*name).ok_or_else(|| Error::Engine(format!("the graph has no output '{name}'")))?;
            values.push(self.keep(name, value.downcast().map_err(failed)?));
        }
        let arrays = values.split_off(keep.len());
        Ok((values.into_iter().map(Resident::new).collect(), arrays.iter().map(|v| fetch_tensor(v)).collect::<Result<_>>()?))
    }

    /// Lets go of every buffer and recording; numbers go on, so that no old recording is ever taken for a new one.
    pub fn forget(&mut self) {
        self.buffers.clear();
        self.sent.clear();
        self.shapes.clear();
        self.recordings.clear();
    }

    fn bind_inputs(&mut self, binding: &mut IoBinding, inputs: &[(&str, Feed)]) -> Result<Addresses> {
        let mut addresses = Addresses::new();
        for (name, feed) in inputs {
            let value = match feed {
                Feed::Held(resident) => resident.get::<Arc<DynTensor>>()?.as_ref(),
                Feed::Sent(array) => {
                    let value = tensor(array).map_err(failed)?;
                    match self.sent.get_mut(*name).filter(|held| held.shape() == value.shape()) {
                        Some(held) => value.copy_into(held).map_err(failed)?,
                        None => {
                            self.recordings.clear();
                            self.sent.insert((*name).to_owned(), send(value, self.device).map_err(failed)?);
                        }
                    }
                    &self.sent[*name]
                }
            };
            binding.bind_input(*name, value).map_err(failed)?;
            addresses.push(place(value));
        }
        let shapes: Vec<Vec<i64>> = addresses.iter().map(|a| a.1.clone()).collect();
        if self.shapes != shapes {
            self.shapes = shapes;
            self.buffers.clear();
            self.recordings.clear();
        }
        Ok(addresses)
    }

    /// Whether every output got a buffer; what has none is allocated by the run.
    fn bind_outputs(&mut self, binding: &mut IoBinding, wanted: &[&str], there: &MemoryInfo, addresses: &mut Addresses) -> Result<bool> {
        let mut fixed = true;
        for name in wanted {
            // Nobody else holds it when it can be borrowed to be written.
            let free = self.buffers.get_mut(*name).and_then(|all| all.iter_mut().find_map(Arc::get_mut));
            match free {
                Some(buffer) => {
                    addresses.push(place(buffer));
                    binding.bind_output(*name, buffer).map_err(failed)?;
                }
                None => {
                    fixed = false;
                    binding.bind_output_to_device(*name, there).map_err(failed)?;
                }
            }
        }
        Ok(fixed)
    }

    /// What the run is recorded under: -1 is not at all.
    fn number(&mut self, addresses: Addresses, fixed: bool) -> String {
        if !fixed {
            self.recordings.clear();
            return "-1".into();
        }
        if let Some(number) = self.recordings.get(&addresses) {
            return number.to_string();
        }
        if self.recordings.len() >= MOST {
            return "-1".into();
        }
        let number = self.next;
        self.next += 1;
        self.recordings.insert(addresses, number);
        number.to_string()
    }

    /// The buffer that an output came in, which from now on belongs to its cycle.
    fn keep(&mut self, name: &str, value: DynTensor) -> Arc<DynTensor> {
        let all = self.buffers.entry(name.to_owned()).or_default();
        let same = |held: &&Arc<DynTensor>| held.data_ptr() == value.data_ptr();
        if let Some(held) = all.iter().find(same) {
            return Arc::clone(held);
        }
        let value = Arc::new(value);
        all.push(Arc::clone(&value));
        value
    }
}

#[cfg(test)]
mod tests {
    use ndarray::ArrayD;

    use super::*;
    use crate::runtime::{
        Runtime,
        backend::Array,
        options::{EngineChoice, RuntimeOptions},
        ort_backend, ort_resident,
    };

    fn session() -> Option<Session> {
        let options = RuntimeOptions { engine: EngineChoice::OnnxRuntime, ..RuntimeOptions::default() };
        let library = Runtime::open(&options).ok().and_then(|runtime| runtime.report().library.clone());
        let Some(library) = library else {
            eprintln!("skipped: no ONNX Runtime here");
            return None;
        };
        let (environment, _) = ort_backend::environment(&library).unwrap();
        Some(Session::builder(&environment).unwrap().commit_from_memory(&ort_backend::check_graph()).unwrap())
    }

    #[test]
    fn a_loop_needs_two_recordings_and_never_writes_over_what_is_held() {
        let Some(mut session) = session() else { return };
        let mut replay = Replay::new(Device::Cpu);
        let begin = || ArrayD::from_elem(vec![1, 1, 2, 2], 1.0_f32);
        let held = |value| ort_resident::hold(Array::F32(value), Device::Cpu).unwrap();
        let (mut state, mut kept) = (held(begin()), None);
        for step in 1..=8 {
            let (mut next, read) = replay.advance(&mut session, &[("x", Feed::Held(&state))], &["y"], &[]).unwrap();
            assert!(read.is_empty());
            state = next.remove(0);
            assert_eq!(ort_resident::fetch(&state).unwrap(), begin() * 2_f32.powi(step), "step {step}");
            if step == 3 {
                kept = Some(replay.advance(&mut session, &[("x", Feed::Held(&state))], &["y"], &[]).unwrap().0.remove(0));
            }
        }
        assert_eq!(ort_resident::fetch(&kept.unwrap()).unwrap(), begin() * 16.0);
        assert_eq!(replay.recordings.len(), 2, "{:?}", replay.recordings);
        // What is sent lands in one buffer, what is read comes back from one.
        for value in [3.0, -1.0, 5.0] {
            let sent = Array::F32(begin() * value);
            let (_, read) = replay.advance(&mut session, &[("x", Feed::Sent(sent))], &[], &["y"]).unwrap();
            assert_eq!(read, [begin() * (2.0 * value).max(0.0)]);
        }
        assert_eq!(replay.sent.len(), 1);
    }
}
