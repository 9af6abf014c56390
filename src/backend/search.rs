//! Where an installation's files may lie. One documented order for ONNX Runtime's library and for
//! the folder of small models, so that the element works from `gst-launch` (whose executable lies in
//! the system's folder), from a checkout, and installed.
//!
//! | # | place | library | models |
//! |---|---|---|---|
//! | 1 | explicit setting | file, or folder holding it | folder |
//! | 2 | environment | `NULLFACE_ORT_LIBRARY` | `NULLFACE_MODELS` |
//! | 3 | beside the file this code was loaded from (plugin or executable), then beside the executable | `.`, `lib`, `../lib/nullface`, `../share/nullface/onnxruntime/lib`, the same one folder higher | `../share/nullface/models`, the same one folder higher |
//! | 4 | upwards from both and from the working directory | `.deps/onnxruntime/lib` | `models/small` |
//! | 5 | `XDG_DATA_HOME`, `XDG_DATA_DIRS` | `nullface/onnxruntime/lib` | `nullface/models` |
//! | 6 | library folders of the system | `LD_LIBRARY_PATH`, `/usr/local/lib`, `/usr/lib/…` | – |
//!
//! The held-out models of evaluation are looked for like the small ones: `NULLFACE_EVAL_MODELS`, then
//! `../share/nullface/eval`, `models/eval`, `nullface/eval`.
//!
//! 1 and 2 are commands, not hints: where they are given and wrong, nothing else is tried.

use std::path::{Path, PathBuf};

/// How far up a folder tree is searched.
const MAX_UP: usize = 8;

/// Folders of this process that searches start from.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    /// Folders of the plugin or executable.
    pub beside: Vec<PathBuf>,
    /// Working directory.
    pub working: Option<PathBuf>,
    /// User's and system's data folders.
    pub data: Vec<PathBuf>,
    /// Library folders of the system.
    pub system: Vec<PathBuf>,
}

impl Places {
    /// The places of this process.
    pub(super) fn here() -> Self {
        let mut beside = Vec::new();
        for file in [own_file(), std::env::current_exe().ok()].into_iter().flatten() {
            if let Some(folder) = file.parent().map(Path::to_path_buf)
                && !beside.contains(&folder)
            {
                beside.push(folder);
            }
        }
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let mut data: Vec<PathBuf> = Vec::new();
        data.extend(
            std::env::var_os("XDG_DATA_HOME")
                .filter(|v| !v.is_empty())
                .map(PathBuf::from)
                .or(home.map(|h| h.join(".local/share"))),
        );
        match std::env::var_os("XDG_DATA_DIRS").filter(|v| !v.is_empty()) {
            Some(dirs) => data.extend(std::env::split_paths(&dirs)),
            None => data.extend(["/usr/local/share", "/usr/share"].map(PathBuf::from)),
        }
        Self {
            beside,
            working: std::env::current_dir().ok(),
            data,
            system: library_folders(),
        }
    }

    /// Folders in which ONNX Runtime's library is looked for, rules 3 to 6.
    pub(super) fn library_folders(&self) -> Vec<PathBuf> {
        let near = self
            .beside
            .iter()
            .flat_map(|b| [b.clone(), b.join("lib"), b.join("../lib/nullface")])
            .chain(self.shared("onnxruntime/lib"));
        let up = self.upwards().map(|d| d.join(".deps/onnxruntime/lib"));
        let data = self.data.iter().map(|d| d.join("nullface/onnxruntime/lib"));
        near.chain(up).chain(data).chain(self.system.iter().cloned()).collect()
    }

    /// Folders in which the run-time compiler is looked for, before the loader is asked.
    pub(super) fn nvrtc_folders(&self) -> Vec<PathBuf> {
        let near = self.beside.iter().flat_map(|b| [b.clone(), b.join("../lib/nullface")]);
        let up = self.upwards().map(|d| d.join(".deps/cuda"));
        near.chain(up).chain(self.system.iter().cloned()).collect()
    }

    /// Folders in which the small models are looked for, rules 3 to 5.
    pub(super) fn models_folders(&self) -> Vec<PathBuf> {
        self.folders("models", "small")
    }

    /// Folders in which the held-out models are looked for, rules 3 to 5.
    pub(super) fn eval_folders(&self) -> Vec<PathBuf> {
        self.folders("eval", "eval")
    }

    fn folders(&self, installed: &str, in_checkout: &str) -> Vec<PathBuf> {
        let near = self.shared(installed);
        let up = self.upwards().map(|d| d.join("models").join(in_checkout));
        let data = self.data.iter().map(|d| d.join("nullface").join(installed));
        near.chain(up).chain(data).collect()
    }

    /// Shared folders of an installation: beside `bin` for the command, beside `lib` for a plugin in a
    /// folder of its own there.
    fn shared<'a>(&'a self, what: &'a str) -> impl Iterator<Item = PathBuf> + 'a {
        self.beside
            .iter()
            .flat_map(move |b| ["../share/nullface", "../../share/nullface"].map(|up| b.join(up).join(what)))
    }

    fn upwards(&self) -> impl Iterator<Item = PathBuf> {
        self.beside
            .iter()
            .chain(&self.working)
            .flat_map(|b| b.ancestors().take(MAX_UP))
            .map(Path::to_path_buf)
    }
}

/// The system's library folders, the user's first.
pub(super) fn library_folders() -> Vec<PathBuf> {
    let own: Vec<PathBuf> = std::env::var_os("LD_LIBRARY_PATH")
        .map(|v| std::env::split_paths(&v).filter(|p| !p.as_os_str().is_empty()).collect())
        .unwrap_or_default();
    let fixed = [
        "/usr/local/lib",
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib64",
        "/usr/lib",
        "/usr/local/cuda/lib64",
    ];
    own.into_iter().chain(fixed.map(PathBuf::from)).collect()
}

/// The file that this code was loaded from: the plugin's shared object, or the executable.
/// Read from the process's own memory map, which needs no call into the loader.
fn own_file() -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    file_of_address(&maps, own_file as fn() -> Option<PathBuf> as usize)
}

/// The file mapped at an address, from text in the form of `/proc/PID/maps`.
fn file_of_address(maps: &str, address: usize) -> Option<PathBuf> {
    maps.lines().find_map(|line| {
        let (from, rest) = line.split_once('-')?;
        let (to, rest) = rest.split_once(' ')?;
        let range = usize::from_str_radix(from, 16).ok()?..usize::from_str_radix(to, 16).ok()?;
        let path = rest.split_once('/')?.1;
        range.contains(&address).then(|| PathBuf::from(format!("/{path}")))
    })
}

#[cfg(test)]
mod tests {
    use super::{Places, file_of_address, own_file};
    use std::path::{Path, PathBuf};

    #[test]
    fn the_own_file_is_this_test_program() {
        let own = own_file().expect("a mapped file holds this code");
        assert_eq!(own.file_name(), std::env::current_exe().expect("executable").file_name());
    }

    #[test]
    fn an_address_outside_every_mapping_has_no_file() {
        let maps = "1000-2000 r-xp 00000000 08:01 7 /usr/lib/a b.so\n3000-4000 rw-p 00000000 00:00 0 \n";
        assert_eq!(file_of_address(maps, 0x1fff), Some(PathBuf::from("/usr/lib/a b.so")));
        assert_eq!(file_of_address(maps, 0x2000), None);
        assert_eq!(file_of_address(maps, 0x3500), None);
    }

    #[test]
    fn folders_come_in_the_documented_order() {
        let places = Places {
            beside: vec!["/opt/x/bin".into()],
            working: Some("/home/u".into()),
            data: vec!["/data".into()],
            system: vec!["/usr/lib".into()],
        };
        let folders = places.library_folders();
        let at = |p: &str| {
            folders
                .iter()
                .position(|f| f == Path::new(p))
                .unwrap_or_else(|| panic!("{p} not in {folders:?}"))
        };
        let order = [
            "/opt/x/bin",
            "/opt/x/bin/lib",
            "/opt/x/bin/.deps/onnxruntime/lib",
            "/opt/.deps/onnxruntime/lib",
            "/home/u/.deps/onnxruntime/lib",
            "/data/nullface/onnxruntime/lib",
            "/usr/lib",
        ];
        assert!(order.windows(2).all(|w| at(w[0]) < at(w[1])), "{folders:?}");
    }
}
