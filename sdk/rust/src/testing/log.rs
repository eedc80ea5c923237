//! The scripted log: keeps every line.

use crate::log::Level;

pub(crate) fn write(level: Level, message: &str) {
    super::with(|state| state.log.push((level, message.to_owned())));
}
