//! Folders of people: a folder a person, pictures in it, or in it a folder a film or session with pictures.
//!
//! | layout | person | film |
//! |---|---|---|
//! | `anna/1.jpg`, `anna/2.jpg` | anna | each picture its own |
//! | `anna/film-1/1.jpg`, `anna/film-2/1.jpg` | anna | film-1, film-2 |
//! | `1.jpg`, `2.jpg` (no folders) | each picture its own | one |

use std::path::{Path, PathBuf};

use anyhow::Result;
use nullface::eval::follow::{Face, Follower};
use nullface::eval::rgb_view;
use nullface::stages::detect::Effort;

use super::pairs;
use crate::exit::refuse;
use crate::reader::{Picture, Reader};

/// One picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Portrait {
    pub(super) path: PathBuf,
    /// Film or session of the person.
    pub(super) film: usize,
}

/// One person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) portraits: Vec<Portrait>,
}

/// People of a folder, in order of their names.
///
/// # Errors
/// It cannot be read, or holds no pictures.
pub(super) fn of_folder(folder: &Path) -> Result<Vec<Person>> {
    let subfolders = folders_in(folder)?;
    if subfolders.is_empty() {
        let portrait = |path| Person {
            portraits: vec![Portrait { path, film: 0 }],
        };
        return Ok(pairs::pictures(folder)?.into_values().map(portrait).collect());
    }
    let mut people = Vec::with_capacity(subfolders.len());
    for person in subfolders {
        let films = folders_in(&person)?;
        let mut portraits = Vec::new();
        if films.is_empty() {
            for (film, path) in pairs::pictures(&person)?.into_values().enumerate() {
                portraits.push(Portrait { path, film });
            }
        }
        for (film, folder) in films.iter().enumerate() {
            let of_film = pairs::pictures(folder)?;
            portraits.extend(of_film.into_values().map(|path| Portrait { path, film }));
        }
        people.push(Person { portraits });
    }
    Ok(people)
}

fn folders_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |e: std::io::Error| {
        refuse(
            folder,
            format!("it cannot be read: {e}"),
            "give a folder with a folder for each person",
        )
    };
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let hidden = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
        if path.is_dir() && !hidden {
            all.push(path);
        }
    }
    all.sort();
    Ok(all)
}

/// A picture and the largest face in it; `None` where no face is found.
///
/// # Errors
/// The picture cannot be read, a network fails.
pub(super) fn largest_face(path: &Path, follower: &mut Follower) -> Result<Option<(Picture, Face)>> {
    let picture = Reader::still(path)?;
    let view = rgb_view(u32::try_from(picture.width_px)?, u32::try_from(picture.height_px)?, &picture.rgb)?;
    follower.flush();
    let faces = follower.push(&view, Some(Effort::Thorough))?;
    let largest = faces.into_iter().max_by(|a, b| a.box_px.area().total_cmp(&b.box_px.area()));
    Ok(largest.map(|face| (picture, face)))
}

#[cfg(test)]
mod tests {
    use super::of_folder;

    #[test]
    fn films_of_a_person_are_told_apart_where_folders_tell_them() {
        let folder = tempfile::tempdir().expect("folder");
        for name in ["anna/a/1.png", "anna/a/2.png", "anna/b/1.png", "bert/1.jpg", "bert/2.jpg"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("parent")).expect("made");
            std::fs::write(path, "").expect("written");
        }
        let people = of_folder(folder.path()).expect("people");
        let films: Vec<Vec<usize>> = people.iter().map(|p| p.portraits.iter().map(|q| q.film).collect()).collect();
        assert_eq!(films, [vec![0, 0, 1], vec![0, 1]]);
        let flat = of_folder(&folder.path().join("bert")).expect("pictures");
        assert_eq!(flat.len(), 2);
        assert!(of_folder(&folder.path().join("anna/none")).is_err());
    }
}
