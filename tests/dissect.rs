//! Dissection: counts against NumPy's, and the command on data it made itself.

#![allow(missing_docs, reason = "tests")]
#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::{fs, path::Path, process::Command as Process, sync::Arc};

use assert_cmd::Command;
use ndarray::{Array4, Ix4};
use psescope::{
    core::{
        dissect::{
            ResultTable,
            field::Extent,
            mask::{Upsampler, Upsampling},
            quantile::{Quantiles, level},
            survey::summaries,
            tally::{Rule, Tally, Vocabulary},
        },
        oracle::Layers as _,
        tensor::image::read_npy,
    },
    engine::{
        control::Control,
        dissect::{Data, Plan, run},
        subject::{Subject, SubjectOptions},
    },
    runtime::{
        EngineChoice, Runtime, RuntimeOptions,
        backend::{Backend, Executor},
    },
};
use serde_json::Value;

fn golden() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/dissect")
}

/// `tests/golden/dissect/make.py` made the data and counted with NumPy.
#[test]
fn counts_are_numpys() {
    let expected: Value = serde_json::from_slice(&fs::read(golden().join("expected.json")).unwrap()).unwrap();
    let data = Data::open(&golden()).unwrap();
    let maps: Array4<f32> = read_npy(&fs::read(golden().join("maps.npy")).unwrap()).unwrap().into_dimensionality::<Ix4>().unwrap();
    let (images, units, h, w) = maps.dim();
    let labels: Vec<_> = (0..images).map(|i| data.labels(i).unwrap()).collect();
    let mut quantiles = Quantiles::new(units, images, h * w, level(0.02), 1 << 16);
    quantiles.push(0, maps.view(), &summaries(maps.as_slice().unwrap(), h * w)).unwrap();
    assert!(quantiles.is_exact());
    let thresholds = quantiles.finish();
    for (got, want) in thresholds.iter().zip(expected["thresholds"].as_array().unwrap()) {
        approx::assert_abs_diff_eq!(*got, want.as_f64().unwrap(), epsilon = 1e-12);
    }
    let extent = Extent { offset: -3, size: 17, step: 10 };
    for run in expected["runs"].as_array().unwrap() {
        let upsampling = if run["upsampling"] == "plain" { Upsampling::Plain } else { Upsampling::Field([extent; 2]) };
        let rule = if run["rule"] == "lite" { Rule::Lite } else { Rule::Original };
        let up = Upsampler::new([h, w], [31, 37], [62, 74], upsampling);
        let mut tally = Tally::new(rule, Vocabulary::new(&data.broden, false), &thresholds);
        tally.add(maps.view(), &labels, &vec![&up; images]);
        let numbers: Vec<usize> = run["numbers"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
        let counts = |value: &Value| -> Vec<u64> { value.as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect() };
        let of = |all: &[u64]| -> Vec<u64> { numbers.iter().map(|n| all[*n]).collect() };
        assert_eq!(of(tally.truth()), counts(&run["truth"]));
        let result = tally.result();
        for unit in 0..units {
            assert_eq!(of(tally.both(unit)), counts(&run["both"][unit]), "{} {} unit {unit}", run["rule"], run["upsampling"]);
            assert_eq!(tally.activation(unit), counts(&run["activation"][unit]), "{} {} unit {unit}", run["rule"], run["upsampling"]);
            let row = result.rows.iter().find(|r| r.unit == unit + 1).unwrap();
            approx::assert_abs_diff_eq!(row.score, run["best"][unit][1].as_f64().unwrap(), epsilon = 1e-6);
            assert_eq!(row.label, run["best"][unit][0].as_str().unwrap());
        }
    }
}

/// The embedded engine as several engines that part its threads.
struct Parted(Arc<dyn Backend>);

impl Backend for Parted {
    fn describe(&self) -> String {
        self.0.describe()
    }
    fn load(&self, model: &[u8]) -> psescope::core::error::Result<Box<dyn Executor>> {
        self.0.load(model)
    }
    fn preferred_batch(&self) -> usize {
        self.0.preferred_batch()
    }
    fn lanes(&self) -> Vec<Arc<dyn Backend>> {
        vec![self.0.clone(); 3]
    }
}

/// Images go to three networks in turn; their maps must come back in order, and an image that cannot be read must end all of them.
#[test]
fn networks_side_by_side_give_what_one_gives() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("data");
    with_photos(&folder);
    let data = Data::open(&folder).unwrap();
    let subject = Subject::open(Path::new(MODEL), &SubjectOptions::default()).unwrap();
    let runtime = Runtime::open(&RuntimeOptions { engine: EngineChoice::Embedded, ..RuntimeOptions::default() }).unwrap();
    let dissected = |backend: Arc<dyn Backend>, name: &str, batch: usize| {
        let mut network = subject.network(&backend).unwrap();
        let layer = network.spatial_layers().pop().unwrap();
        let plan = Plan {
            layers: vec![layer],
            quantile: 0.02,
            rule: Rule::Original,
            by_field: true,
            compat_label0: false,
            limit: None,
            batch,
            out: home.path().join(name),
            tops: 3,
            keep_activations: true,
            keep_results: false,
            force: false,
        };
        run(&subject, &mut network, &data, &plan, &Control::default(), &mut |_| ()).map(|mut d| d.remove(0))
    };
    let one = dissected(runtime.backend(), "one", 0).unwrap();
    for (name, batch) in [("single", 0), ("pairs", 2)] {
        let lanes = dissected(Arc::new(Parted(runtime.backend())), name, batch).unwrap();
        assert_eq!((&lanes.table, &lanes.details.tops), (&one.table, &one.details.tops), "{name}");
        assert_eq!(lanes.details.thresholds, one.details.thresholds, "{name}");
    }
    fs::write(folder.join("images/05.png"), b"not a picture").unwrap();
    let failed = dissected(Arc::new(Parted(runtime.backend())), "bad", 0).unwrap_err().to_string();
    assert!(failed.contains("05.png"), "{failed}");
}

/// The set that NumPy counted, with a picture of its own for every row.
fn with_photos(folder: &Path) {
    fs::create_dir_all(folder.join("images")).unwrap();
    for from in [golden(), golden().join("images")] {
        for file in fs::read_dir(&from).unwrap().map(|f| f.unwrap().path()).filter(|f| f.is_file()) {
            fs::copy(&file, folder.join(file.strip_prefix(golden()).unwrap())).unwrap();
        }
    }
    for i in 0..24u32 {
        let path = folder.join(format!("images/{i:02}.png"));
        image::RgbImage::from_fn(74, 62, |x, y| image::Rgb([0, 1, 2].map(|c| (x * (i + 2) + y * (3 * i + c)) as u8))).save(path).unwrap();
    }
}

fn psescope(home: &Path) -> Command {
    let mut command = Command::cargo_bin("psescope").expect("the program is built");
    command.env("XDG_CACHE_HOME", home).env("PSESCOPE_CONFIG", "");
    command.env_remove("PSESCOPE_CONFIG");
    command
}

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/onnx/squeezenet1_1.onnx");

/// Makes data, dissects some of it, is killed, goes on, and ends with the same file as an undisturbed run.
#[test]
fn a_killed_run_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let made = psescope(dir.path()).args(["dissect", "--side", "64", "--json", "--make-data"]).arg(&data).assert().success();
    let made: Value = serde_json::from_slice(&made.get_output().stdout).unwrap();
    assert_eq!((made["schema"].as_str(), made["images"].as_u64()), (Some("psescope.concept-data/1"), Some(672)));
    let schema: Value = serde_json::from_str(include_str!("../docs/schema/concept-data.json")).unwrap();
    assert!(jsonschema::validator_for(&schema).unwrap().is_valid(&made), "{made}");
    let arguments = |out: &str| {
        let mut list: Vec<String> =
            ["dissect", MODEL, "--limit", "16", "--batch", "2", "--tops", "2", "--json", "--data"].map(String::from).to_vec();
        list.extend([data.display().to_string(), "--out".into(), dir.path().join(out).display().to_string()]);
        list
    };
    let whole = psescope(dir.path()).args(arguments("whole")).assert().success();
    let whole: Value = serde_json::from_slice(&whole.get_output().stdout).unwrap();
    let schema: Value = serde_json::from_str(include_str!("../docs/schema/dissect.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(validator.iter_errors(&whole).map(|e| format!("{e} at {}", e.instance_path())).collect::<Vec<_>>().is_empty());
    assert!(!validator.is_valid(&made));
    let layer = &whole["layers"][0];
    assert_eq!(
        (layer["units"].as_u64(), layer["cached"].as_bool(), layer["thresholds_exact"].as_bool()),
        (Some(512), Some(false), Some(true))
    );
    let page = fs::read_to_string(layer["html"].as_str().unwrap()).unwrap();
    assert!(page.contains("data:image/jpeg;base64,") && !page.contains("http") && page.contains("cannot be compared"));

    let mut child = Process::new(assert_cmd::cargo::cargo_bin!("psescope"))
        .args(arguments("killed"))
        .env("XDG_CACHE_HOME", dir.path())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let begun = |_: &()| {
        let entries = fs::read_dir(dir.path().join("killed")).ok();
        entries.is_some_and(|e| {
            e.flatten().any(|f| f.path().extension().is_some_and(|x| x == "mmap-inc") && f.metadata().is_ok_and(|m| m.len() > 0))
        })
    };
    while !begun(&()) && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let again = psescope(dir.path()).args(arguments("killed")).assert().success();
    let again: Value = serde_json::from_slice(&again.get_output().stdout).unwrap();
    let read = |v: &Value| fs::read(v["layers"][0]["result"].as_str().unwrap()).unwrap();
    assert_eq!(read(&whole), read(&again));
    assert_eq!(ResultTable::parse(&read(&whole)).unwrap().to_csv().into_bytes(), read(&whole));
    let third = psescope(dir.path()).args(arguments("killed")).assert().success();
    let third: Value = serde_json::from_slice(&third.get_output().stdout).unwrap();
    assert_eq!(third["layers"][0]["cached"], true);
    // Kept activations are whole and lose the name of a growing file; another rule uses them again, and they stay.
    let mut keep = arguments("kept");
    keep.push("--keep-activations".into());
    psescope(dir.path()).args(&keep).assert().success();
    let (growing, kept) = ["fire9.mmap-inc", "fire9.mmap"].map(|n| dir.path().join("kept").join(n)).into();
    assert_eq!((growing.exists(), fs::metadata(&kept).unwrap().len()), (false, 16 * 512 * 13 * 13 * 4));
    let mut lite = arguments("kept");
    lite.extend(["--rule", "lite"].map(String::from));
    psescope(dir.path()).args(&lite).assert().success();
    assert_eq!((growing.exists(), fs::metadata(&kept).unwrap().len()), (false, 16 * 512 * 13 * 13 * 4));
    // Another number of images does not silently overwrite.
    let mut other = arguments("killed");
    other[3] = "8".into();
    let error = psescope(dir.path()).args(other).assert().failure().code(2).get_output().stderr.clone();
    assert!(String::from_utf8_lossy(&error).contains("--force"));
}

#[test]
fn bad_data_gives_one_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let run = |folder: &Path| {
        let done = psescope(dir.path())
            .args(["dissect", MODEL, "--limit", "2", "--out"])
            .arg(dir.path().join("out"))
            .arg("--data")
            .arg(folder)
            .assert();
        let done = done.failure().code(3);
        let text = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
        assert_eq!(text.lines().filter(|l| !l.contains("note:")).count(), 1, "{text}");
        text
    };
    assert!(run(dir.path()).contains("--make-data"));
    // The golden set has label pictures but no photos.
    assert!(run(&golden()).contains("cannot read"));
}
