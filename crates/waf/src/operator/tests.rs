use super::*;

const HERE: &str = ".";

fn operator(name: &str, argument: &str) -> Operator {
    Operator::compile(name, argument, Path::new(HERE)).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(name: &str, argument: &str) -> String {
    Operator::compile(name, argument, Path::new(HERE)).expect_err("it should be refused")
}

fn matches(operator: &Operator, input: &[u8]) -> bool {
    let mut captures = Captures::default();
    let with = operator.matches(input, b"", Some(&mut captures));
    assert_eq!(with, operator.matches(input, b"", None), "{operator:?} with and without captures");
    with
}

/// Asserts cases: argument, value, whether it matches.
fn check(name: &str, cases: &[(&str, &[u8], bool)]) {
    for (argument, input, expected) in cases {
        let operator = operator(name, argument);
        let shown = String::from_utf8_lossy(input);
        assert_eq!(matches(&operator, input), *expected, "@{name} {argument:?} on {shown:?}");
        if let (Some(literals), true) = (operator.required_literals(), *expected) {
            assert!(has_one(literals, input), "@{name} {argument:?} on {shown:?}: {literals:?}");
        }
    }
}

fn has_one(literals: &Literals, input: &[u8]) -> bool {
    let lower = input.to_ascii_lowercase();
    literals.texts.iter().any(|text| memchr::memmem::find(&lower, text).is_some())
}

fn captured(operator: &Operator, input: &[u8]) -> Vec<Option<String>> {
    let mut captures = Captures::default();
    assert!(operator.matches(input, b"", Some(&mut captures)), "{operator:?}");
    let text = |at| captures.get(at).map(|text| String::from_utf8_lossy(text).into_owned());
    let texts: Vec<_> = (0..10).map(text).collect();
    let used = texts.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    texts[..used].to_vec()
}

/// A folder with files, which goes when it is dropped.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let path = std::env::temp_dir().join(format!("buchner-waf-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        for (name, text) in files {
            std::fs::write(path.join(name), text).unwrap();
        }
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn rx() {
    check(
        "rx",
        &[
            ("^a.b$", b"a\nb", true),
            ("^a$", b"a\n", false),
            ("A", b"a", false),
            ("(?i)A", b"a", true),
            ("", b"", true),
            (r"^\x{ff}$", b"\xff", true),
            (r"^[\x{80}-\x{ff}]+$", b"\x80\xff", true),
            (r"^\x{a}$", b"\n", true),
            (r"^[^a]$", b"\xff", true),
            (r"^.$", "é".as_bytes(), false),
            (r"\\x{41}{0}", b"\\", true),
            ("é", "é".as_bytes(), true),
        ],
    );
    // Characters to PCRE, operators of classes or word boundaries to the crate `regex`.
    check(
        "rx",
        &[
            (r"^\<a\>$", b"<a>", true),
            ("^[[a]+$", b"[a", true),
            ("^[a&&b]+$", b"a&b", true),
            ("^[a~~b]+$", b"~", true),
            ("^[+--]+$", b"+,-", true),
            ("^[--a]+$", b"-A", true),
            ("^[a-]+$", b"a-", true),
            ("^[]a]+$", b"]a", true),
            ("^[^]a]+$", b"b", true),
            ("^[^[]+$", b"[", false),
            ("^[[:digit:][]+$", b"1[", true),
            ("^[[:^digit:]]+$", b"a", true),
            (r"^[\]\[]+$", b"[]", true),
            (r"^[\w-]+$", b"a-", true),
        ],
    );
    assert!(refused("rx", "(a").starts_with("@rx: "));
    assert!(refused("rx", "[a--]").contains("range"));
    assert!(refused("rx", "(?=a)").contains("look-around"));
    assert!(refused("rx", "(?:a{1000}){1000}").contains("size"));
    assert!(refused("rx", "^%{tx.foo}$").contains("macros"));
}

#[test]
fn rx_captures_up_to_nine_groups() {
    let groups = operator("rx", "(a)(x)?(b)");
    assert_eq!(captured(&groups, b"1ab2"), [Some("ab".into()), Some("a".into()), None, Some("b".into())]);
    let many = operator("rx", "(a)(b)(c)(d)(e)(f)(g)(h)(i)(j)");
    assert_eq!(captured(&many, b"abcdefghij").len(), 10);
    let global = operator("rxGlobal", "[0-9]+");
    assert_eq!(captured(&global, b"1a22b333"), [Some("1".into()), Some("22".into()), Some("333".into())]);
}

#[test]
fn pm() {
    check(
        "pm",
        &[
            ("foo bar", b"a FOO", true),
            ("foo bar", b"fo o ba r", false),
            ("foo", b"", false),
            ("|41 42|c d|20|e", b"xABCx", true),
            ("|41 42|c d|20|e", b"d e", true),
            ("|41 42|c d|20|e", b"de", false),
        ],
    );
    assert_eq!(captured(&operator("pm", "Foo bar"), b"a fOO bar"), [Some("Foo".into())]);
    for (argument, reason) in
        [("", "no phrase"), ("|4", "odd"), ("|41", "not closed"), ("|4|", "odd"), ("|g1|", "digits")]
    {
        let error = refused("pm", argument);
        assert!(error.contains(reason) || argument == "|4", "{argument}: {error}");
    }
}

#[test]
fn files_are_read_relative_to_the_rules() {
    let folder = Folder::new(
        "pm",
        &[("a.data", "# a comment\n\n  Two Words \r\nthree\n"), ("b.data", "four\n"), ("none", "#\n")],
    );
    let phrases = Operator::compile("pmFromFile", "a.data b.data", &folder.0).unwrap();
    assert_eq!(captured(&phrases, b"x two words x"), [Some("Two Words".into())]);
    assert!(matches(&phrases, b"FOUR") && !matches(&phrases, b"two") && !matches(&phrases, b"comment"));
    assert!(Operator::compile("pmf", "b.data", &folder.0).is_ok());
    assert!(Operator::compile("pmf", "none", &folder.0).unwrap_err().contains("no phrase"));
    assert!(Operator::compile("pmf", "missing", &folder.0).unwrap_err().contains("missing"));
    assert!(Operator::compile("pmf", " ", &folder.0).unwrap_err().contains("no file"));
    assert!(Operator::compile("pmf", "https://example.com/x", &folder.0).unwrap_err().contains("files only"));
    let folder = Folder::new("ip", &[("ip", "192.0.2.0/24\n# x\n2001:db8::1\n"), ("bad", "# x\n192.0.2.0/33\n")]);
    let addresses = Operator::compile("ipMatchFromFile", "ip", &folder.0).unwrap();
    assert!(matches(&addresses, b"192.0.2.9") && matches(&addresses, b"2001:db8::1"));
    assert!(Operator::compile("ipMatchF", "bad", &folder.0).unwrap_err().contains("bad, line 2: 192.0.2.0/33"));
}

#[test]
fn texts() {
    check("streq", &[("a", b"a", true), ("a", b"A", false), ("", b"", true), ("a", b"ab", false)]);
    check("contains", &[("b", b"abc", true), ("B", b"abc", false), ("", b"", true), ("abc", b"ab", false)]);
    check("strmatch", &[("b", b"abc", true), ("d", b"abc", false)]);
    check(
        "within",
        &[("GET POST", b"GET", true), ("GET POST", b"get", false), ("GET", b"", true), ("GET", b"GETS", false)],
    );
    check("beginsWith", &[("ab", b"abc", true), ("bc", b"abc", false), ("", b"", true), ("abc", b"ab", false)]);
    check("endsWith", &[("bc", b"abc", true), ("ab", b"abc", false), ("", b"x", true)]);
    check(
        "containsWord",
        &[
            ("sql", b"a sql b", true),
            ("sql", b"sql", true),
            ("sql", b"mysql", false),
            ("sql", b"sqlite", false),
            ("sql", b"mysql sql", true),
            ("sql", b"sql_ (sql)", true),
            ("sql", b"sql_", false),
            ("x x", b"yx x x", true),
            ("", b"x", true),
        ],
    );
    check("unconditionalMatch", &[("", b"", true), ("x", b"y", true)]);
    check("noMatch", &[("", b"", false)]);
    assert_eq!(captured(&operator("within", "GET POST"), b"POST"), [Some("POST".into())]);
    assert_eq!(captured(&operator("contains", "b"), b"abc"), [Some("b".into())]);
}

#[test]
fn numbers_are_those_of_atoi() {
    check("eq", &[("5", b" +5x", true), ("0", b"x", true), ("0", b"", true), ("-1", b"-1", true), ("1", b"1.9", true)]);
    check("ge", &[("5", b"5", true), ("5", b"4", false), ("x", b"0", true)]);
    check("gt", &[("5", b"6", true), ("5", b"5", false), ("0", b"-1", false)]);
    check("le", &[("5", b"5", true), ("5", b"6", false)]);
    check("lt", &[("5", b"4", true), ("5", b"5", false), ("1", b"--5", true), ("-1", b"-99999999999999999999", true)]);
}

#[test]
fn macros_are_named_and_expanded_by_the_caller() {
    let limit = operator("lt", "%{tx.limit}");
    assert_eq!(limit.macros(), Some("%{tx.limit}"));
    assert!(limit.matches(b"4", b"5", None) && !limit.matches(b"6", b"5", None));
    let host = operator("endsWith", ".%{request_headers.host}");
    assert!(host.matches(b"www.example.com", b".example.com", None));
    assert_eq!(operator("streq", "100%").macros(), None);
    assert_eq!(operator("streq", "%{}").macros(), None);
    assert_eq!(operator("rx", "%{1,2}x").macros(), None);
    assert!(refused("pm", "a %{tx.b}").contains("macros"));
}

#[test]
fn addresses() {
    check(
        "ipMatch",
        &[
            ("192.0.2.1", b"192.0.2.1", true),
            ("192.0.2.1", b"192.0.2.2", false),
            ("10.0.0.0/8, 192.0.2.128/25", b"192.0.2.200", true),
            ("10.0.0.0/8,192.0.2.128/25", b"192.0.2.127", false),
            ("10.1.2.3/8", b"10.255.255.255", true),
            ("0.0.0.0/0", b"255.255.255.255", true),
            ("0.0.0.0/0", b"::1", false),
            ("2001:db8::/32,10.0.0.0/8,10.1.0.0/16", b"2001:db8:ffff::", true),
            ("2001:db8::/32,10.0.0.0/8,10.1.0.0/16", b"10.9.0.0", true),
            ("::/0", b"::1", true),
            ("::1", b"no address", false),
            ("::1", b"\xff", false),
            ("::1", b"", false),
        ],
    );
    for argument in ["", "x", "192.0.2.1/33", "::1/129", "192.0.2.1/x", "192.0.2"] {
        refused("ipMatch", argument);
    }
}

#[test]
fn byte_ranges_and_encodings() {
    check(
        "validateByteRange",
        &[
            ("1-255", b"a\xff", false),
            ("1-255", b"a\0", true),
            ("10, 13, 32-126", b"a\r\n", false),
            ("10,13,32-126", b"\t", true),
            ("65", b"", false),
            ("0-255", b"\0\xff", false),
        ],
    );
    for argument in ["", "256", "5-4", "a", "1-"] {
        refused("validateByteRange", argument);
    }
    check(
        "validateUtf8Encoding",
        &[
            ("", "aé€😀".as_bytes(), false),
            ("", b"\xc3", true),
            ("", b"\xc0\xaf", true),
            ("", b"\xed\xa0\x80", true),
            ("", b"\xf5\x80\x80\x80", true),
            ("", b"\x80", true),
        ],
    );
    check(
        "validateUrlEncoding",
        &[
            ("", b"a%41%fF", false),
            ("", b"%", true),
            ("", b"%4", true),
            ("", b"%4g", true),
            ("", b"%u0041", true),
            ("", b"", false),
        ],
    );
}

#[test]
fn injections() {
    check(
        "detectSQLi",
        &[
            ("", b"1' OR '1'='1", true),
            ("", b"1 UNION SELECT password FROM users", true),
            ("", b"select", false),
            ("", b"a normal sentence", false),
            ("", b"", false),
        ],
    );
    check(
        "detectXSS",
        &[
            ("", b"<script>alert(1)</script>", true),
            ("", b"x onerror=alert(1)", true),
            ("", b"<a href=\"javascript:alert(1)\">", true),
            ("", b"1 < 2", false),
            ("", b"word", false),
            ("", b"", false),
        ],
    );
    assert_eq!(captured(&operator("detectSQLi", ""), b"1' OR '1'='1"), [Some("s&sos".into())]);
    assert_eq!(captured(&operator("detectXSS", ""), b"<script>"), [Some("<script>".into())]);
}

/// The numbers are the ones that the schemes' descriptions give as examples.
#[test]
fn check_digits() {
    check("verifyCC", &[(r"\d{13,16}", b"x 4111111111111111 x", true), (r"\d{13,16}", b"4111111111111112", false)]);
    check("verifyCC", &[(r"[\d-]{19}", b"4111-1111-1111-1112 4111-1111-1111-1111", true)]);
    let social: &[(&str, &[u8], bool)] = &[
        (r"\d{3}-?\d{2}-?\d{4}", b"078-05-1120", true),
        (r"\d{3}-?\d{2}-?\d{4}", b"666-05-1120", false),
        (r"\d{3}-?\d{2}-?\d{4}", b"000-05-1120", false),
        (r"\d{3}-?\d{2}-?\d{4}", b"078-00-1120", false),
        (r"\d{3}-?\d{2}-?\d{4}", b"123456789", false),
        (r"\d{3}-?\d{2}-?\d{4}", b"111111111", false),
    ];
    check("verifySSN", social);
    check("verifyCPF", &[(r"[\d.-]{14}", b"111.444.777-35", true), (r"[\d.-]{14}", b"111.444.777-36", false)]);
}

#[test]
fn what_is_refused_says_why() {
    for name in [
        "rbl",
        "geoLookup",
        "inspectFile",
        "gsbLookup",
        "fuzzyHash",
        "validateHash",
        "validateDTD",
        "validateSchema",
        "rsub",
    ] {
        let error = refused(name, "x");
        assert!(error.starts_with(&format!("@{name}: ")) && !error.contains("no such"), "{error}");
    }
    assert_eq!(refused("foo", ""), "@foo: there is no such operator");
    assert_eq!(operator("RX", "a").name(), "rx");
    assert_eq!(operator("detectsqli", "a").argument(), "a");
}

#[test]
fn required_literals() {
    let literals = |pattern: &str| {
        let operator = operator("rx", pattern);
        operator.required_literals().map(|found| {
            found.texts.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect::<Vec<_>>().join("|")
        })
    };
    let cases = [
        ("abc", Some("abc")),
        ("(?i)AbC", Some("abc")),
        ("^(?:foo|barx)$", Some("barx|foo")),
        ("a(?:bc|de)f", Some("abcf|adef")),
        ("a.*longer", Some("longer")),
        ("a*b", Some("b")),
        ("xy(?:abc)*z", Some("xy")),
        ("(?:ab)+", Some("ab")),
        ("(?:abc)?d", Some("abcd|d")),
        ("x{3}", Some("xxx")),
        ("x{2,}", Some("xx")),
        ("[ab]c", Some("ac|bc")),
        (r"\bunion\s+select\b", Some("select")),
        ("foo|.*", None),
        ("foo|", None),
        ("[a-z]+", None),
        ("", None),
        ("^$", None),
        (r"\x{ff}\x{fe}", Some("\u{fffd}\u{fffd}")),
    ];
    for (pattern, expected) in cases {
        assert_eq!(literals(pattern).as_deref(), expected, "{pattern}");
    }
    assert_eq!(operator("pm", "Foo bar").required_literals().map(Literals::shortest), Some(3));
    assert!(operator("streq", "foo").required_literals().is_none());
}
