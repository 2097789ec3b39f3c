//! What leaves the program: JSON, NumPy arrays, pictures.

pub mod dissection;
pub mod json;
pub mod npy;
pub mod picture;
pub mod text;
pub mod triage_html;
pub mod triage_text;
