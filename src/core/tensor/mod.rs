//! Images, preprocessing, labels and norms.
