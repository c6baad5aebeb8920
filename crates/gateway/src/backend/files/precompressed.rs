//! Precompressed siblings (`app.js.br` beside `app.js`; nginx: `gzip_static`) and the choice among them (RFC 9110 section 12.5.3).
use buchner_wire::headers::list_members;

/// A content coding a sibling may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// Brotli (RFC 7932).
    Br,
    /// Zstandard (RFC 8878).
    Zstd,
    /// gzip (RFC 1952).
    Gzip,
}

impl Coding {
    /// Every coding, by preference.
    pub const ALL: [Self; 3] = [Self::Br, Self::Zstd, Self::Gzip];

    /// The coding of a name as configured.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|coding| coding.name().as_bytes() == name.as_bytes())
    }

    /// Its name in Content-Encoding.
    pub fn name(self) -> &'static str {
        match self {
            Self::Br => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// What the sibling's name ends in, after a dot; also tells its entity tag from the others.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Br => "br",
            Self::Zstd => "zst",
            Self::Gzip => "gz",
        }
    }

    fn of(name: &[u8]) -> Option<Self> {
        let name = if name.eq_ignore_ascii_case(b"x-gzip") { b"gzip" } else { name };
        Self::ALL.into_iter().find(|coding| name.eq_ignore_ascii_case(coding.name().as_bytes()))
    }
}

/// Weights in thousandths, as far as the header gives them.
#[derive(Default)]
struct Weights {
    codings: [Option<u16>; Coding::ALL.len()],
    identity: Option<u16>,
    rest: Option<u16>,
}

impl Weights {
    fn of(&self, coding: Coding) -> u16 {
        self.codings[coding as usize].or(self.rest).unwrap_or(0)
    }
}

/// The best of the `available` codings (in order of preference) for a client with these Accept-Encoding values. `None`: no
/// coding, either because the client takes none of them or because it likes none of them better.
pub fn choose<'a>(
    accept_encoding: impl Iterator<Item = &'a [u8]>,
    available: impl Iterator<Item = Coding>,
) -> Option<Coding> {
    let mut weights = Weights::default();
    for member in accept_encoding.flat_map(list_members) {
        let (name, parameters) = match memchr::memchr(b';', member) {
            Some(at) => (member[..at].trim_ascii(), &member[at + 1..]),
            None => (member, &b""[..]),
        };
        let Some(weight) = weight(parameters) else { continue };
        match Coding::of(name) {
            Some(coding) => weights.codings[coding as usize] = Some(weight),
            None if name == b"*" => weights.rest = Some(weight),
            None if name.eq_ignore_ascii_case(b"identity") => weights.identity = Some(weight),
            None => {}
        }
    }
    let mut best: Option<(Coding, u16)> = None;
    for coding in available {
        let weight = weights.of(coding);
        if weight > best.map_or(0, |(_, weight)| weight) {
            best = Some((coding, weight));
        }
    }
    // An identity that isn't mentioned is acceptable, but nobody's wish.
    let identity = weights.identity.or(weights.rest).unwrap_or(0);
    best.filter(|(_, weight)| *weight >= identity).map(|(coding, _)| coding)
}

/// The weight among the parameters (RFC 9110 section 12.4.2), in thousandths; 1000 without one, `None` for nonsense.
fn weight(parameters: &[u8]) -> Option<u16> {
    let parameters = parameters.trim_ascii();
    if parameters.is_empty() {
        return Some(1000);
    }
    let value = parameters.strip_prefix(b"q=").or_else(|| parameters.strip_prefix(b"Q="))?;
    let (whole, fraction) = match value {
        [whole] => (whole, &b""[..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        _ => return None,
    };
    let mut thousandths = match whole {
        b'0' => 0,
        b'1' => 1000,
        _ => return None,
    };
    let mut unit = 100;
    for digit in fraction {
        thousandths += u16::from(digit.checked_sub(b'0').filter(|digit| *digit <= 9)?) * unit;
        unit /= 10;
    }
    (thousandths <= 1000).then_some(thousandths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Coding::{Br, Gzip, Zstd};

    fn choice(accept: &str, available: &[Coding]) -> Option<Coding> {
        choose(std::iter::once(accept.as_bytes()), available.iter().copied())
    }

    #[test]
    fn the_table_of_accept_encoding() {
        let all = &[Br, Zstd, Gzip];
        let cases: &[(&str, &[Coding], Option<Coding>)] = &[
            ("gzip, deflate, br, zstd", all, Some(Br)),
            ("gzip, deflate, br, zstd", &[Zstd, Br, Gzip], Some(Zstd)),
            ("gzip, deflate", all, Some(Gzip)),
            ("gzip", &[Br], None),
            ("gzip", &[], None),
            ("", all, None),
            ("identity", all, None),
            ("*", all, Some(Br)),
            ("*;q=0", all, None),
            ("*;q=0, gzip", all, Some(Gzip)),
            ("br;q=0, *", all, Some(Zstd)),
            ("gzip;q=1.0, br;q=0.5", all, Some(Gzip)),
            ("gzip;q=0.5,br;q=0.500", all, Some(Br)),
            ("gzip ; q=0.8 , br; Q=0.9", all, Some(Br)),
            ("br;q=0.001", all, Some(Br)),
            ("gzip;q=0", all, None),
            ("gzip;q=0.000, br;q=0.", all, None),
            ("GZIP", all, Some(Gzip)),
            ("x-gzip", all, Some(Gzip)),
            ("gzip;q=0.5, identity;q=0.9", all, None),
            ("gzip;q=0.5, identity;q=0.5", all, Some(Gzip)),
            ("identity;q=0", all, None),
            ("gzip;q=0.5, *;q=0.9", &[Gzip], None),
            // A weight that breaks the grammar is no offer.
            ("gzip;q=2", all, None),
            ("gzip;q=1.001", all, None),
            ("gzip;q=0.1234", all, None),
            ("gzip;q=-1, br", all, Some(Br)),
            ("gzip;q=a", all, None),
            ("gzip;level=9", all, None),
            ("gzipped, brr", all, None),
        ];
        for (accept, available, expected) in cases {
            assert_eq!(choice(accept, available), *expected, "{accept:?} {available:?}");
        }
    }

    #[test]
    fn several_fields_are_one_list() {
        let fields: [&[u8]; 2] = [b"gzip", b"br;q=0.5"];
        assert_eq!(choose(fields.into_iter(), [Br, Gzip].into_iter()), Some(Gzip));
        assert_eq!(choose(std::iter::empty(), Coding::ALL.into_iter()), None);
    }

    #[test]
    fn names_are_those_of_the_configuration() {
        for coding in Coding::ALL {
            assert_eq!(Coding::parse(coding.name()), Some(coding));
            assert_eq!(Coding::ALL[coding as usize], coding);
        }
        assert_eq!(Coding::parse("deflate"), None);
    }
}
