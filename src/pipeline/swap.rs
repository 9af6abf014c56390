//! Another detector for an engine that runs: opened on a thread of its own, put in place between two frames.
//!
//! Until it is open the one before looks at every frame. One that cannot be opened is told of, with its file and the
//! remedy, and changes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam::channel::{Receiver, TryRecvError, bounded};

use crate::backend::{DeviceEvent, DeviceEvents};
use crate::stages::detect::Detector;

use super::engine::EngineError;
use super::settings::{DetectorChoice, EngineConfig, Means};

/// Opens a detector of a kind, from the user's file where the kind comes with none.
pub type DetectorOpener = dyn Fn(DetectorChoice, Option<&Path>) -> Result<Box<dyn Detector>, EngineError> + Send + Sync;

/// A kind of detector, and its file where that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Which {
    choice: DetectorChoice,
    file: Option<PathBuf>,
}

impl Which {
    fn of(means: &Means) -> Self {
        let is_users = matches!(means.detector, DetectorChoice::Yunet | DetectorChoice::Scrfd);
        Self {
            choice: means.detector,
            file: means.detector_model.clone().filter(|_| is_users),
        }
    }
}

/// Which detector is in force, which is asked for, and the opening of the latter.
pub(super) struct Swap {
    opener: Option<Arc<DetectorOpener>>,
    in_force: Which,
    asked: Which,
    opening: Option<Receiver<Result<Box<dyn Detector>, EngineError>>>,
    events: DeviceEvents,
}

impl Swap {
    /// What a configuration says is in force; nothing else can be opened before [`Self::set_opener`].
    pub(super) fn new(config: &EngineConfig) -> Self {
        let in_force = Which::of(&config.means());
        Self {
            opener: None,
            asked: in_force.clone(),
            in_force,
            opening: None,
            events: config.device_events.clone(),
        }
    }

    pub(super) fn set_opener(&mut self, opener: Arc<DetectorOpener>) {
        self.opener = Some(opener);
    }

    /// The detector in force and its file.
    pub(super) fn in_force(&self) -> (DetectorChoice, Option<PathBuf>) {
        (self.in_force.choice, self.in_force.file.clone())
    }

    /// Begins to open what is asked for, where that is news. What was being opened before is not wanted any more.
    pub(super) fn ask(&mut self, means: &Means) {
        let asked = Which::of(means);
        if asked == self.asked {
            return;
        }
        self.asked = asked.clone();
        self.opening = None;
        if asked == self.in_force {
            return;
        }
        let Some(opener) = self.opener.clone() else {
            return self.refuse("this engine has a detector of the caller's and opens no other");
        };
        let (done, opening) = bounded(1);
        let thread = std::thread::Builder::new().name("nullface-open".to_owned()).spawn(move || {
            // Nobody waits for it where something else was asked for meanwhile.
            let _ = done.send(opener(asked.choice, asked.file.as_deref()));
        });
        match thread {
            Ok(_) => self.opening = Some(opening),
            Err(error) => self.refuse(&format!("no thread to open it: {error}")),
        }
    }

    /// The detector asked for, once, when it is open.
    pub(super) fn ready(&mut self) -> Option<Box<dyn Detector>> {
        let answer = match self.opening.as_ref()?.try_recv() {
            Ok(answer) => answer.map_err(|e| e.to_string()),
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Err("opening it panicked".to_owned()),
        };
        self.opening = None;
        match answer {
            Ok(detector) => {
                self.in_force = self.asked.clone();
                let what = self.in_force.choice.to_string();
                self.events.tell(DeviceEvent::Opened { what });
                Some(detector)
            }
            Err(why) => {
                self.refuse(&why);
                None
            }
        }
    }

    fn refuse(&self, why: &str) {
        self.events.tell(DeviceEvent::Refused {
            what: self.asked.choice.to_string(),
            stays: self.in_force.choice.to_string(),
            why: why.to_owned(),
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::frame::FrameView;
    use crate::stages::detect::{DetectError, Detection, Effort};

    struct Named(&'static str);

    impl Detector for Named {
        fn name(&self) -> &'static str {
            self.0
        }

        fn detect(&mut self, _: &FrameView<'_>, _: f32, _: Effort) -> Result<Vec<Detection>, DetectError> {
            Ok(Vec::new())
        }
    }

    /// Opens BlazeFace at once, YuNet when told to, and panics at SCRFD.
    fn swap() -> (Swap, crossbeam::channel::Sender<()>, Arc<Mutex<Vec<String>>>) {
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let to = Arc::clone(&told);
        let config = EngineConfig {
            device_events: DeviceEvents::new(move |event| to.lock().expect("told").push(event.to_string())),
            ..EngineConfig::default()
        };
        let mut swap = Swap::new(&config);
        let (open, gate) = bounded::<()>(0);
        swap.set_opener(Arc::new(move |choice, file| match choice {
            DetectorChoice::Yunet => {
                let _ = gate.recv();
                Err(EngineError::Stage {
                    stage: "start",
                    why: format!("{file:?} is no network"),
                })
            }
            DetectorChoice::Scrfd => panic!("on cue"),
            _ => Ok(Box::new(Named("blaze"))),
        }));
        (swap, open, told)
    }

    fn means(detector: DetectorChoice) -> Means {
        Means {
            detector,
            detector_model: Some(PathBuf::from("a.onnx")),
            ..Means::default()
        }
    }

    fn wait(swap: &mut Swap) -> Option<Box<dyn Detector>> {
        while swap.opening.is_some() {
            if let Some(detector) = swap.ready() {
                return Some(detector);
            }
            std::thread::yield_now();
        }
        None
    }

    #[test]
    fn a_detector_is_handed_over_once_when_it_is_open() {
        let (mut swap, _open, told) = swap();
        swap.ask(&means(DetectorChoice::Auto));
        assert!(swap.opening.is_none(), "it is in force");
        swap.ask(&means(DetectorChoice::Blazeface));
        assert_eq!(wait(&mut swap).map(|d| d.name()), Some("blaze"));
        assert!(swap.ready().is_none());
        assert_eq!(swap.in_force(), (DetectorChoice::Blazeface, None), "no file of the user's counts");
        swap.ask(&means(DetectorChoice::Blazeface));
        assert!(swap.opening.is_none());
        assert_eq!(*told.lock().expect("told"), ["blazeface looks for faces from now on"]);
    }

    #[test]
    fn one_that_cannot_be_opened_or_panics_changes_nothing_and_is_told_of_once() {
        let (mut swap, open, told) = swap();
        drop(open);
        for choice in [DetectorChoice::Yunet, DetectorChoice::Scrfd] {
            swap.ask(&means(choice));
            assert!(wait(&mut swap).is_none());
            swap.ask(&means(choice));
            assert!(swap.opening.is_none(), "what failed is not tried again unasked");
            assert_eq!(swap.in_force().0, DetectorChoice::Auto);
        }
        let told = told.lock().expect("told").clone();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("a.onnx") && told[0].contains("auto goes on"), "{told:?}");
        assert!(told[1].contains("panicked"), "{told:?}");
    }

    #[test]
    fn what_is_asked_for_meanwhile_counts() {
        let (mut swap, open, told) = swap();
        swap.ask(&means(DetectorChoice::Yunet));
        assert!(swap.ready().is_none(), "still being opened");
        swap.ask(&means(DetectorChoice::Auto));
        swap.ask(&means(DetectorChoice::Blazeface));
        drop(open);
        assert_eq!(wait(&mut swap).map(|d| d.name()), Some("blaze"));
        assert_eq!(told.lock().expect("told").len(), 1, "nothing of what nobody wants any more");
    }
}
