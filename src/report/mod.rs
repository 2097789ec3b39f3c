//! What leaves the program: JSON, NumPy arrays, pictures.

pub mod explain;
pub mod json;
pub mod npy;
pub mod picture;
pub mod text;
