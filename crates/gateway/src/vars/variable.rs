//! A variable as the room that it belongs to declares it.
use crate::exchange::Exchange;
use crate::vars::{Sent, Wants};

/// Writes the value of a variable.
pub type Write = fn(&Exchange, Sent<'_>, &mut Vec<u8>);
/// Writes the value of a variable of a family, by the rest of its name.
pub type WriteNamed = fn(&str, &Exchange, Sent<'_>, &mut Vec<u8>);

/// What a name stands for.
#[derive(Clone, Copy, Debug)]
pub enum Writer {
    /// One variable.
    One(Write),
    /// A family: all variables whose names begin with this name. `known` says which ends there are.
    Each {
        /// Writes one.
        write: WriteNamed,
        /// There is a variable with this end.
        known: fn(&str) -> bool,
        /// The end is the name of a header, in which `_` stands for `-`.
        header: bool,
    },
}

/// A variable, or a family of them, of a room.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Its name without `$`; of a family what their names begin with (`upstream_http_`).
    pub name: &'static str,
    /// What it is, for docs/variables.md.
    pub about: &'static str,
    /// How its value is written.
    pub writer: Writer,
    /// An empty value is one, so that logs don't show `-` for it.
    pub empty_counts: bool,
    /// A configuration may define it itself.
    pub definable: bool,
    /// What has to be recorded for it.
    pub wants: Wants,
}

impl Variable {
    /// A variable.
    pub const fn new(name: &'static str, write: Write, about: &'static str) -> Self {
        Self { name, about, writer: Writer::One(write), empty_counts: false, definable: false, wants: Wants::NOTHING }
    }

    const fn each(name: &'static str, writer: Writer, about: &'static str) -> Self {
        Self { name, about, writer, empty_counts: false, definable: false, wants: Wants::NOTHING }
    }

    /// A family of variables with any ends.
    pub const fn family(name: &'static str, write: WriteNamed, about: &'static str) -> Self {
        Self::each(name, Writer::Each { write, known: |_| true, header: false }, about)
    }

    /// A family of variables whose ends are names of headers.
    pub const fn headers(name: &'static str, write: WriteNamed, about: &'static str) -> Self {
        Self::each(name, Writer::Each { write, known: |_| true, header: true }, about)
    }

    /// A family of variables with certain ends.
    pub const fn family_of(
        name: &'static str,
        known: fn(&str) -> bool,
        write: WriteNamed,
        about: &'static str,
    ) -> Self {
        Self::each(name, Writer::Each { write, known, header: false }, about)
    }

    /// An empty value of it is one.
    #[must_use]
    pub const fn empty_counts(mut self) -> Self {
        self.empty_counts = true;
        self
    }

    /// A configuration may define it itself.
    #[must_use]
    pub const fn definable(mut self) -> Self {
        self.definable = true;
        self
    }

    /// It needs something recorded that is not otherwise.
    #[must_use]
    pub const fn wants(mut self, wants: Wants) -> Self {
        self.wants = wants;
        self
    }

    /// The end of `name`, if it is one of this family's; the empty one of a single variable.
    pub fn end_of<'n>(&self, name: &'n str) -> Option<&'n str> {
        match self.writer {
            Writer::One(_) => (name == self.name).then_some(""),
            Writer::Each { known, .. } => name.strip_prefix(self.name).filter(|end| known(end)),
        }
    }
}

// A name is a variable's alone.
impl PartialEq for Variable {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Variable {}
