//! The version a client speaks. Later ones compare as greater.

/// An HTTP version. A minor version of HTTP/1 above 1 counts as 1.1 (RFC 9110 section 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0
    H10,
    /// HTTP/1.1
    H11,
    /// HTTP/2
    H2,
    /// HTTP/3
    H3,
}

impl Version {
    /// Its name, as request lines, `SERVER_PROTOCOL` and nginx's `$server_protocol` have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::H10 => "HTTP/1.0",
            Self::H11 => "HTTP/1.1",
            Self::H2 => "HTTP/2.0",
            Self::H3 => "HTTP/3.0",
        }
    }

    /// What it is called while it is negotiated (RFC 9113 section 3.1, RFC 9114 section 3.1), over TLS or without; empty for HTTP/1.
    pub const fn identifier(self, secure: bool) -> &'static str {
        match self {
            Self::H10 | Self::H11 => "",
            Self::H2 if secure => "h2",
            Self::H2 => "h2c",
            Self::H3 => "h3",
        }
    }

    /// It has expectations and interim responses (RFC 9110 sections 10.1.1 and 15.2).
    pub const fn has_interim(self) -> bool {
        match self {
            Self::H10 => false,
            Self::H11 | Self::H2 | Self::H3 => true,
        }
    }

    /// Fields can follow a body whose length was not told (RFC 9110 section 6.5).
    pub const fn has_trailers(self) -> bool {
        match self {
            Self::H10 => false,
            Self::H11 | Self::H2 | Self::H3 => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Version::{H2, H3, H10, H11};

    #[test]
    fn versions_are_named_as_nginx_names_them_and_later_ones_are_greater() {
        assert_eq!([H10, H11, H2, H3].map(super::Version::name), ["HTTP/1.0", "HTTP/1.1", "HTTP/2.0", "HTTP/3.0"]);
        assert!(H10 < H11 && H11 < H2 && H2 < H3);
    }

    #[test]
    fn http_1_0_alone_has_neither_interim_responses_nor_trailers() {
        assert_eq!([H10, H11, H2, H3].map(super::Version::has_interim), [false, true, true, true]);
        assert_eq!([H10, H11, H2, H3].map(super::Version::has_trailers), [false, true, true, true]);
    }
}
