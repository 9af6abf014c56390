//! What is known of the session now, for the status line and the monitor.

use std::collections::VecDeque;

use serde_json::{Map, Value, json};

/// Seconds that the graphs show.
const HISTORY: usize = 300;
/// Tracks that the cards show at most; the youngest are kept.
const CARDS: usize = 64;

/// What somebody watching asked for a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Switch {
    /// What all others have.
    #[default]
    On,
    /// One colour.
    Cover,
    /// The face as it is; only with `--allow-keep`.
    Off,
}

/// Why a switch was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotSwitched {
    /// There is no such track.
    NoTrack,
    /// Faces may not be left as they are.
    NotAllowed,
}

/// A face that was seen.
#[derive(Debug, Clone)]
pub(crate) struct Card {
    /// Track.
    pub(crate) track: u64,
    /// `x`, `y`, `width`, `height`, `outcome`, `reason`, `rung`, `cos`, as the element says.
    pub(crate) said: Map<String, Value>,
    /// Whether it is in the last frame.
    pub(crate) here: bool,
    pub(crate) switch: Switch,
}

/// One second.
#[derive(Debug, Clone, Default)]
pub(crate) struct Second {
    /// Frames from the source.
    pub(crate) fps_in: f32,
    /// Frames out.
    pub(crate) fps_out: f32,
    /// Median delay from arrival to release, ms.
    pub(crate) p50_ms: f32,
    /// 95th percentile of it.
    pub(crate) p95_ms: f32,
    /// The element's rung.
    pub(crate) rung: String,
}

/// The board.
#[derive(Debug, Default)]
pub(crate) struct Board {
    /// What the source does.
    pub(crate) source: String,
    /// What each output does.
    pub(crate) sinks: Vec<(String, String)>,
    /// Connections made after the first.
    pub(crate) reconnects: u32,
    /// Frames dropped before the filter.
    pub(crate) dropped: u64,
    /// Why the whole frame is covered, where it is.
    pub(crate) withheld: Option<String>,
    /// Counts of the element.
    pub(crate) stats: Map<String, Value>,
    /// The last seconds, oldest first.
    pub(crate) history: VecDeque<Second>,
    cards: Vec<Card>,
    /// Whether faces may be left as they are.
    allow_keep: bool,
    /// Whether a track was switched since the element was told.
    pub(crate) switched: bool,
}

impl Board {
    /// A board of a session that may leave faces as they are, or may not.
    pub(crate) fn new(allow_keep: bool) -> Self {
        Self {
            allow_keep,
            ..Self::default()
        }
    }

    /// Takes a message of the element.
    pub(crate) fn said(&mut self, said: &Map<String, Value>) {
        self.withheld = said.get("withheld").and_then(Value::as_str).map(str::to_owned);
        for card in &mut self.cards {
            card.here = false;
        }
        for face in said.get("faces").and_then(Value::as_array).into_iter().flatten() {
            let (Some(said), Some(track)) = (face.as_object(), face.get("track").and_then(Value::as_u64)) else {
                continue;
            };
            match self.cards.iter_mut().find(|card| card.track == track) {
                Some(card) => (card.said, card.here) = (said.clone(), true),
                None => self.cards.push(Card {
                    track,
                    said: said.clone(),
                    here: true,
                    switch: Switch::On,
                }),
            }
        }
        while self.cards.len() > CARDS {
            let oldest = self.cards.iter().position(|c| !c.here).unwrap_or(0);
            self.cards.remove(oldest);
        }
    }

    /// Asks for another treatment of a track.
    ///
    /// # Errors
    /// There is no such track, or that treatment is not allowed.
    pub(crate) fn switch(&mut self, track: u64, to: Switch) -> Result<(), NotSwitched> {
        if to == Switch::Off && !self.allow_keep {
            return Err(NotSwitched::NotAllowed);
        }
        let card = self.cards.iter_mut().find(|card| card.track == track).ok_or(NotSwitched::NoTrack)?;
        self.switched |= card.switch != to;
        card.switch = to;
        Ok(())
    }

    /// Tracks of which something was asked, for the element.
    pub(crate) fn switched_to(&self, to: Switch) -> String {
        let ids: Vec<String> = self.cards.iter().filter(|c| c.switch == to).map(|c| c.track.to_string()).collect();
        ids.join(",")
    }

    /// Faces that the last frame showed as they are.
    fn shown(&self) -> usize {
        let kept = |c: &&Card| c.here && c.said.get("outcome").and_then(Value::as_str) == Some("kept");
        self.cards.iter().filter(kept).count()
    }

    /// Faces in the last frame.
    pub(crate) fn faces(&self) -> usize {
        self.cards.iter().filter(|c| c.here).count()
    }

    /// Takes the figures of a second.
    pub(crate) fn second(&mut self, second: Second) {
        self.history.push_back(second);
        while self.history.len() > HISTORY {
            self.history.pop_front();
        }
    }

    /// The status line.
    pub(crate) fn line(&self) -> String {
        let now = self.history.back().cloned().unwrap_or_default();
        let mut line = format!(
            "{:.0} fps in, {:.0} out | rung {} | {} {} | {:.0} ms, p95 {:.0} ms",
            now.fps_in,
            now.fps_out,
            now.rung,
            self.faces(),
            if self.faces() == 1 { "face" } else { "faces" },
            now.p50_ms,
            now.p95_ms
        );
        if self.shown() > 0 {
            line += &format!(" | {} left as they are", self.shown());
        }
        if self.dropped > 0 {
            line += &format!(" | {} dropped", self.dropped);
        }
        if let Some(why) = &self.withheld {
            line += &format!(" | frame covered: {why}");
        }
        if self.source != "playing" {
            line += &format!(" | source {}", self.source);
        }
        for (name, state) in self.sinks.iter().filter(|(_, state)| state != "playing") {
            line += &format!(" | {name} {state}");
        }
        line
    }

    /// Everything, for the page.
    pub(crate) fn json(&self) -> Value {
        let cards: Vec<Value> = self
            .cards
            .iter()
            .map(|card| {
                let mut said = card.said.clone();
                said.insert("here".to_owned(), card.here.into());
                said.insert("switch".to_owned(), json!(card.switch));
                Value::Object(said)
            })
            .collect();
        let history: Vec<Value> = self
            .history
            .iter()
            .map(|s| json!({"fps_in": s.fps_in, "fps_out": s.fps_out, "p50_ms": s.p50_ms, "p95_ms": s.p95_ms, "rung": s.rung}))
            .collect();
        json!({
            "source": self.source,
            "sinks": self.sinks.iter().map(|(name, state)| json!({"name": name, "state": state})).collect::<Vec<_>>(),
            "reconnects": self.reconnects,
            "dropped": self.dropped,
            "withheld": self.withheld,
            "allow_keep": self.allow_keep,
            "stats": self.stats,
            "tracks": cards,
            "history": history,
            "line": self.line(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Board, CARDS, NotSwitched, Second, Switch};
    use serde_json::{Value, json};

    fn said(tracks: &[u64]) -> serde_json::Map<String, Value> {
        let faces: Vec<Value> = tracks.iter().map(|t| json!({"track": t, "rung": "solid"})).collect();
        match json!({"faces": faces}) {
            Value::Object(said) => said,
            _ => unreachable!("an object"),
        }
    }

    #[test]
    fn cards_stay_when_their_faces_leave() {
        let mut board = Board::default();
        board.said(&said(&[1, 2]));
        board.said(&said(&[2]));
        assert_eq!((board.faces(), board.cards.len()), (1, 2));
    }

    #[test]
    fn a_switch_reaches_the_element_once_and_only_for_tracks_that_are_known() {
        let mut board = Board::default();
        board.said(&said(&[7, 9]));
        assert!(board.switch(9, Switch::Cover).is_ok() && board.switched);
        assert_eq!(board.switched_to(Switch::Cover), "9");
        assert_eq!(board.switch(3, Switch::Cover), Err(NotSwitched::NoTrack));
        board.switched = false;
        assert!(board.switch(9, Switch::Cover).is_ok() && !board.switched, "nothing new");
    }

    #[test]
    fn nobody_is_left_as_they_are_unless_the_session_allows_it() {
        let mut board = Board::default();
        board.said(&said(&[7]));
        assert_eq!(board.switch(7, Switch::Off), Err(NotSwitched::NotAllowed));
        assert_eq!((board.switched_to(Switch::Off).as_str(), board.switched), ("", false));
        board.allow_keep = true;
        assert!(board.switch(7, Switch::Off).is_ok());
        assert_eq!(board.switched_to(Switch::Off), "7");
        assert!(board.switch(7, Switch::On).is_ok());
        assert_eq!(board.switched_to(Switch::Off), "");
    }

    #[test]
    fn the_status_line_has_pace_rung_faces_delay_and_what_is_amiss() {
        let mut board = Board {
            source: "playing".to_owned(),
            ..Board::default()
        };
        board.said(&said(&[3, 4]));
        board.second(Second {
            fps_in: 25.2,
            fps_out: 24.8,
            p50_ms: 12.4,
            p95_ms: 30.6,
            rung: "cached".to_owned(),
        });
        assert_eq!(board.line(), "25 fps in, 25 out | rung cached | 2 faces | 12 ms, p95 31 ms");
        board.said(&said(&[3]));
        (board.dropped, board.withheld, board.source) = (7, Some("deadline".to_owned()), "lost".to_owned());
        board.sinks = vec![("file".to_owned(), "playing".to_owned()), ("rtmp".to_owned(), "refused".to_owned())];
        let amiss = " | 7 dropped | frame covered: deadline | source lost | rtmp refused";
        assert_eq!(
            board.line(),
            format!("25 fps in, 25 out | rung cached | 1 face | 12 ms, p95 31 ms{amiss}")
        );
    }

    #[test]
    fn the_number_of_cards_is_bounded_and_those_here_stay() {
        let mut board = Board::default();
        for track in 0..500 {
            board.said(&said(&[track]));
        }
        assert_eq!(board.cards.len(), CARDS);
        assert!(board.cards.iter().any(|c| c.track == 499 && c.here));
    }
}
