//! What leaves the program: JSON, NumPy arrays, pictures.

pub mod json;
pub mod network;
pub mod npy;
pub mod picture;
pub mod text;
pub mod triage_html;
pub mod triage_text;
