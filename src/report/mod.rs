//! What leaves the program: JSON, NumPy arrays, pictures.

pub mod json;
pub mod npy;
pub mod picture;
pub mod recovery;
pub mod scatter;
pub mod sensitivity;
pub mod text;
pub mod triage_html;
pub mod triage_text;
