//! Drawing that several screens share.

pub mod line_chart;
pub mod overlay;
pub mod pixel_grid;
pub mod scores;
pub mod table;
pub mod table_state;
pub mod timeline;
