//! The triage page in a real browser: at a phone's width, sorted by its script, and readable without one.
#![allow(missing_docs, reason = "tests")]

use std::{path::Path, process::Command};

use psescope::{
    engine::triage::{Row, part::Metadata},
    report::triage_html,
};

fn row(index: i64, name: &str, l2: f32) -> Row {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(name).display().to_string();
    Row {
        index: Some(index),
        path: Some(path),
        predicted_name: Some("a class with a rather long name, and a synonym".into()),
        predicted_prob: Some(0.9),
        adversarial_name: Some("another class".into()),
        success: Some(true),
        flipped_at: Some(2),
        steps: Some(10),
        l2: Some(l2),
        linf: Some(0.03),
        pse_mode: Some("linear".into()),
        pse_type: Some("balanced".into()),
        pse_suppression: Some(0.2),
        pse_promotion: Some(0.3),
        pse_balanced: Some(0.5),
        turning_point: Some("/features/features.12/squeeze_activation/Relu_output_0".into()),
        compare_predicted_name: Some("dog".into()),
        compare_predicted_index: Some(3),
        compare_success: Some(false),
        ..Row::default()
    }
}

fn page(file: &Path) {
    let metadata: Metadata = [
        ("attack", "pgd"),
        ("params", r#"{"eps":"8/255","steps":"10"}"#),
        ("explain", r#"{"mode":"linear","grid":14,"floor":0.10000000149011612}"#),
        ("model", "models/net.onnx"),
        ("model_sha256", "891f59e7fe6a84554619c63380f434bf0531f0e1d7b48b08a8186367f51b7896"),
        ("compare", "models/another.onnx"),
        ("command", "psescope triage models/net.onnx photos --attack pgd --eps 8/255 --steps 10 --out results --html results/index.html"),
    ]
    .map(|(k, v)| (k.into(), v.into()))
    .into();
    let failed = Row { index: Some(3), path: Some("broken.png".into()), error: Some("it is no picture".into()), ..Row::default() };
    let rows = [row(0, "panda.jpg", 3.0), row(1, "dog.jpg", 1.0), row(2, "crab.jpg", 2.0), failed];
    triage_html::write(file, &rows, &metadata).expect("a page");
}

/// What the browser makes of the page after a few more lines of script; nothing where there is no browser.
fn dom(folder: &Path, script: &str) -> Option<String> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let browser = names.into_iter().find(|b| Command::new(b).arg("--version").output().is_ok());
    let Some(browser) = browser else {
        eprintln!("skipped: no Chromium here");
        return None;
    };
    let file = folder.join("page.html");
    page(&file);
    let text = std::fs::read_to_string(&file).expect("a page");
    std::fs::write(&file, text.replace("</body>", &format!("<script>{script}</script></body>"))).expect("a page");
    let shown = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--window-size=500,900", "--dump-dom"])
        .arg(format!("--user-data-dir={}", folder.join("browser").display()))
        .arg(format!("file://{}", file.display()))
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    if !shown.status.success() || text.is_empty() {
        eprintln!("skipped: the browser does not start here");
        return None;
    }
    Some(text)
}

fn told<'a>(dom: &'a str, key: &str) -> &'a str {
    dom.split(&format!("data-{key}=\"")).nth(1).and_then(|t| t.split('"').next()).unwrap_or_else(|| panic!("no {key} in {dom}"))
}

#[test]
fn a_phone_shows_cards_and_the_script_sorts_them() {
    let home = tempfile::tempdir().expect("a folder");
    // Narrower than a browser's window can be made: the body is, and the phone's rules hold at 500 pixels too.
    let script = "var d=document.documentElement.dataset,names=function(){return Array.from(document.querySelectorAll('#images tbody th'))\
        .map(function(t){return t.dataset.v.split('/').pop()}).join(' ')};\
        document.body.style.width='400px';d.wide=document.body.scrollWidth;\
        d.cards=getComputedStyle(document.querySelector('#images tbody tr')).display;\
        d.label=getComputedStyle(document.querySelector('#images td:nth-child(3)'),'::before').content;\
        d.first=names();\
        var s=document.querySelector('.order select');\
        s.selectedIndex=Array.from(s.options).findIndex(function(o){return o.text==='L2, descending'});s.dispatchEvent(new Event('change'));\
        d.falling=names();\
        Array.from(document.querySelectorAll('th button')).find(function(b){return b.textContent==='L2'}).click();d.rising=names();\
        s.selectedIndex=0;s.dispatchEvent(new Event('change'));d.again=names();";
    let Some(dom) = dom(home.path(), script) else { return };
    assert_eq!(told(&dom, "wide"), "400", "nothing is wider than a phone");
    assert_eq!((told(&dom, "cards"), told(&dom, "label")), ("grid", "&quot;Clean: &quot;"));
    let weakest = "dog.jpg crab.jpg panda.jpg broken.png";
    assert_eq!((told(&dom, "first"), told(&dom, "again")), (weakest, weakest));
    assert_eq!(told(&dom, "falling"), "panda.jpg crab.jpg dog.jpg broken.png", "what has no value comes last");
    assert_eq!(told(&dom, "rising"), weakest);
}

#[test]
fn without_a_script_it_is_a_table_with_settings_in_words() {
    let home = tempfile::tempdir().expect("a folder");
    let file = home.path().join("page.html");
    page(&file);
    let text = std::fs::read_to_string(&file).expect("a page");
    let order: Vec<usize> = ["dog.jpg", "crab.jpg", "panda.jpg", "broken.png"].iter().filter_map(|n| text.find(n)).collect();
    assert!(order.len() == 4 && order.is_sorted(), "the weakest first: {order:?}");
    for words in
        ["pixel value", "cells per side", "logits", "<td>0.1</td>", "--html results/index.html", "it is no picture", "differs on 3"]
    {
        assert!(text.contains(words), "no '{words}'");
    }
    assert!(!text.contains("{&quot;") && !text.contains("http"), "no JSON, nothing from elsewhere");
    assert_eq!(text.matches("<img ").count(), 3);
}
