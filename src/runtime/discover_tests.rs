use super::*;

struct World {
    vars: HashMap<String, PathBuf>,
    files: BTreeSet<PathBuf>,
}

impl World {
    fn new(vars: &[(&str, &str)], files: &[&str]) -> Self {
        Self { vars: vars.iter().map(|(k, v)| ((*k).into(), v.into())).collect(), files: files.iter().map(PathBuf::from).collect() }
    }

    fn env(&self) -> Environment<'_> {
        Environment {
            vars: &self.vars,
            cwd: Path::new("/home/me"),
            cache: Some(Path::new("/cache")),
            flag: None,
            config: None,
            prefer_gpu: false,
            ask_python: true,
            os: Os::Linux,
            files: &self.files,
        }
    }
}

fn everything() -> World {
    World::new(
        &[("ORT_DYLIB_PATH", "/var/ort.so"), ("VIRTUAL_ENV", "/venv"), ("CONDA_PREFIX", "/conda"), ("LD_LIBRARY_PATH", "/extra:relative")],
        &[
            "/venv/lib/python3.9/site-packages/onnxruntime/capi/libonnxruntime.so.1.19.0",
            "/venv/lib/python3.12/site-packages/onnxruntime/capi/libonnxruntime.so.1.32.0",
            "/venv/lib/python3.12/site-packages/onnxruntime/capi/libonnxruntime_providers_shared.so",
            "/conda/lib/python3.11/site-packages/onnxruntime/capi/libonnxruntime.so.1.20.1",
            "/home/me/.venv/lib/python3.11/site-packages/onnxruntime/capi/libonnxruntime.so.1.21.0",
            "/cache/1.9.0/libonnxruntime.so.1.9.0",
            "/cache/1.31.1/libonnxruntime.so.1.31.1",
            "/cache/1.31.1-gpu/libonnxruntime.so.1.31.1",
            "/cache/1.31.1-gpu/libonnxruntime_providers_cuda.so",
            "/cache/1.40.0.part/libonnxruntime.so.1.40.0",
            "/extra/libonnxruntime.so",
            "/usr/lib/libonnxruntime.so",
            "/usr/lib/libonnxruntime.so.1.22.0",
        ],
    )
}

fn order(list: &[Candidate]) -> Vec<(Source, String)> {
    list.iter().map(|c| (c.source, c.path.display().to_string())).collect()
}

#[test]
fn the_documented_order() {
    let world = everything();
    let env = Environment { flag: Some(Path::new("mine.so")), config: Some(Path::new("/etc/ort.so")), ..world.env() };
    let expected = [
        (Source::Flag, "/home/me/mine.so"),
        (Source::Variable, "/var/ort.so"),
        (Source::Config, "/etc/ort.so"),
        (Source::VirtualEnv, "/venv/lib/python3.12/site-packages/onnxruntime/capi/libonnxruntime.so.1.32.0"),
        (Source::VirtualEnv, "/venv/lib/python3.9/site-packages/onnxruntime/capi/libonnxruntime.so.1.19.0"),
        (Source::Conda, "/conda/lib/python3.11/site-packages/onnxruntime/capi/libonnxruntime.so.1.20.1"),
        (Source::DotVenv, "/home/me/.venv/lib/python3.11/site-packages/onnxruntime/capi/libonnxruntime.so.1.21.0"),
        (Source::Cache, "/cache/1.31.1/libonnxruntime.so.1.31.1"),
        (Source::Cache, "/cache/1.31.1-gpu/libonnxruntime.so.1.31.1"),
        (Source::Cache, "/cache/1.9.0/libonnxruntime.so.1.9.0"),
        (Source::Python, ""),
        (Source::System, "/extra/libonnxruntime.so"),
        (Source::System, "/usr/lib/libonnxruntime.so.1.22.0"),
        (Source::Loader, "libonnxruntime.so.1"),
        (Source::Loader, "libonnxruntime.so"),
    ];
    assert_eq!(order(&candidates(&env)), expected.map(|(s, p)| (s, p.to_owned())));
}

#[test]
fn gpu_builds_come_first_but_never_before_what_was_named() {
    let world = everything();
    let list = candidates(&Environment { prefer_gpu: true, ..world.env() });
    assert_eq!(list[0].source, Source::Variable);
    assert_eq!(list[1].path, Path::new("/cache/1.31.1-gpu/libonnxruntime.so.1.31.1"));
    assert!(list[1].gpu_build && !list[2].gpu_build);
    assert_eq!(list[2].source, Source::VirtualEnv);
}

#[test]
fn empty_variables_and_missing_folders_give_only_python_and_the_loader() {
    let world = World::new(&[("ORT_DYLIB_PATH", ""), ("VIRTUAL_ENV", "/gone"), ("CONDA_PREFIX", "")], &[]);
    let sources: Vec<_> = candidates(&Environment { cache: None, ..world.env() }).iter().map(|c| c.source).collect();
    assert_eq!(sources, [Source::Python, Source::Loader, Source::Loader]);
    let sources: Vec<_> = candidates(&Environment { ask_python: false, ..world.env() }).iter().map(|c| c.source).collect();
    assert_eq!(sources, [Source::Loader, Source::Loader]);
}

#[test]
fn a_named_folder_stands_for_the_library_in_it() {
    let world = World::new(&[], &["/opt/ort/lib/libonnxruntime.so.1.25.0", "/opt/ort/lib/libonnxruntime.so"]);
    let list = candidates(&Environment { flag: Some(Path::new("/opt/ort")), ..world.env() });
    assert_eq!(list[0].path, Path::new("/opt/ort/lib/libonnxruntime.so.1.25.0"));
}

#[test]
fn names_on_other_systems() {
    let mac = World::new(&[("VIRTUAL_ENV", "/v")], &["/v/lib/python3.13/site-packages/onnxruntime/capi/libonnxruntime.1.27.0.dylib"]);
    assert_eq!(candidates(&Environment { os: Os::MacOs, ..mac.env() })[0].source, Source::VirtualEnv);
    let windows = World::new(&[("VIRTUAL_ENV", "/v")], &["/v/Lib/site-packages/onnxruntime/capi/onnxruntime.dll"]);
    let env = Environment { os: Os::Windows, ..windows.env() };
    assert_eq!(candidates(&env)[0].source, Source::VirtualEnv);
    assert!(!is_library(Os::Linux, Path::new("/x/libonnxruntime.so.1.2-debug")));
    assert!(!is_library(Os::MacOs, Path::new("/x/libonnxruntime_providers_shared.dylib")));
}

#[test]
fn a_library_found_twice_is_listed_once() {
    let world = World::new(
        &[("VIRTUAL_ENV", "/home/me/.venv")],
        &["/home/me/.venv/lib/python3.12/site-packages/onnxruntime/capi/libonnxruntime.so.1.32.0"],
    );
    let list = candidates(&world.env());
    assert_eq!(list.iter().filter(|c| c.path.starts_with("/home/me")).count(), 1);
    assert_eq!(list[0].source, Source::VirtualEnv);
}
