//! Concept data: the tables and label pictures of a data set, and the result tables of other programs. The parts are parted by a
//! byte that occurs in no text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use psescope::core::dissect::{
    broden::{Broden, label_picture},
    labels::ConceptLabels,
    result::ResultTable,
};

fuzz_target!(|data: &[u8]| {
    let parts: Vec<&[u8]> = data.split(|b| *b == 0xff).collect();
    let part = |i: usize| parts.get(i).copied().unwrap_or_default();
    if let Ok(data) = Broden::parse(part(0), part(1), part(2), &mut |_| Ok(Some(part(3).to_vec()))) {
        let _ = (data.last_label(), data.names(), data.primary(), data.index_csv(), data.label_csv());
    }
    if let Ok(table) = ResultTable::parse(data) {
        let again = ResultTable::parse(table.to_csv().as_bytes()).expect("what is written is read back");
        assert_eq!(again.rows.len(), table.rows.len());
        let _ = ConceptLabels::from_table(&table, "fuzz");
    }
    let _ = label_picture(data, [2, 2], 100);
});
