//! Raw activations on disk: float32, row-major (images, units, h, w), no header: the file NetDissect calls `<layer>.mmap`. While it
//! grows its name ends in `-inc`; how far it got is its length, so a run that was killed goes on where it stopped.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use ndarray::{Array4, ArrayView4};

use crate::core::error::{Error, Result};

/// The activations of one layer.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    file: File,
    /// Units, h, w.
    shape: [usize; 3],
    images: usize,
    /// Bytes on their way between file and numbers.
    buffer: Vec<u8>,
}

/// Bytes converted at a time: they stay in the processor's cache.
const BUFFER: usize = 256 << 10;

impl Store {
    /// Opens the file for this shape; a last image that was only half written is dropped.
    pub fn open(path: PathBuf, shape: [usize; 3], most: usize) -> Result<Self> {
        let failed = |e: std::io::Error| failed(&path, &e);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        let record = record(shape);
        let images = ((file.metadata().map_err(failed)?.len() / record) as usize).min(most);
        file.set_len(images as u64 * record).map_err(failed)?;
        Ok(Self { path, file, shape, images, buffer: vec![0; BUFFER] })
    }

    /// Images written.
    pub fn images(&self) -> usize {
        self.images
    }

    /// Keeps only the first images.
    pub fn truncate(&mut self, images: usize) -> Result<()> {
        self.images = self.images.min(images);
        self.file.set_len(self.images as u64 * record(self.shape)).map_err(|e| failed(&self.path, &e))
    }

    /// Appends the maps `[N, U, h, w]`.
    pub fn append(&mut self, maps: ArrayView4<f32>) -> Result<()> {
        let (n, units, h, w) = maps.dim();
        if [units, h, w] != self.shape {
            return Err(Error::Engine(format!("the layer gave maps of {units}x{h}x{w} instead of {:?}", self.shape)));
        }
        let maps = maps.as_standard_layout();
        let values = maps.as_slice().expect("standard layout");
        let at = self.images as u64 * record(self.shape);
        let mut write = || -> std::io::Result<()> {
            self.file.seek(SeekFrom::Start(at))?;
            for part in values.chunks(self.buffer.len() / 4) {
                let bytes = &mut self.buffer[..part.len() * 4];
                for (word, value) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(part) {
                    *word = value.to_le_bytes();
                }
                self.file.write_all(bytes)?;
            }
            Ok(())
        };
        write().map_err(|e| failed(&self.path, &e))?;
        self.images += n;
        Ok(())
    }

    /// Maps of the images from..to, into memory that is used again.
    pub fn read(&mut self, range: std::ops::Range<usize>, mut memory: Vec<f32>) -> Result<Array4<f32>> {
        let record = record(self.shape);
        memory.resize(range.len() * record as usize / 4, 0.0);
        let mut read = || -> std::io::Result<()> {
            self.file.seek(SeekFrom::Start(range.start as u64 * record))?;
            for part in memory.chunks_mut(self.buffer.len() / 4) {
                let bytes = &mut self.buffer[..part.len() * 4];
                self.file.read_exact(bytes)?;
                for (value, word) in part.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    *value = f32::from_le_bytes(*word);
                }
            }
            Ok(())
        };
        read().map_err(|e| failed(&self.path, &e))?;
        let [units, h, w] = self.shape;
        Ok(Array4::from_shape_vec((range.len(), units, h, w), memory).expect("as many values as the shape says"))
    }
}

fn record(shape: [usize; 3]) -> u64 {
    shape.iter().map(|v| *v as u64).product::<u64>() * 4
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::Input(format!("{}: {error}; give a folder with more room (--out), or fewer images (--limit)", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_an_image_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.mmap-inc");
        let maps = Array4::from_shape_fn((3, 2, 2, 2), |(a, b, c, d)| (a * 8 + b * 4 + c * 2 + d) as f32);
        let mut store = Store::open(path.clone(), [2, 2, 2], 9).unwrap();
        store.append(maps.view()).unwrap();
        assert!(store.append(Array4::zeros((1, 3, 2, 2)).view()).is_err());
        drop(store);
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(2 * 32 + 5).unwrap();
        let mut store = Store::open(path, [2, 2, 2], 9).unwrap();
        assert_eq!(store.images(), 2);
        assert_eq!(store.read(1..2, Vec::new()).unwrap(), maps.slice(ndarray::s![1..2, .., .., ..]));
    }
}
