use super::*;

fn arguments(found: &[Argument]) -> String {
    let text = |argument: &Argument| {
        format!("{}={}", String::from_utf8_lossy(&argument.name), String::from_utf8_lossy(&argument.value))
    };
    found.iter().map(text).collect::<Vec<_>>().join(" ")
}

#[test]
fn queries() {
    let read = |input: &[u8], separator| {
        let pair = |pair: urlencoded::Pair<'_>| {
            let mark = if pair.invalid { "!" } else { "" };
            format!("{mark}{}={}", String::from_utf8_lossy(&pair.name), String::from_utf8_lossy(&pair.value))
        };
        urlencoded::pairs(input, separator).map(pair).collect::<Vec<_>>().join("|")
    };
    let cases: &[(&[u8], &str)] = &[
        (b"", ""),
        (b"a=1&b=2", "a=1|b=2"),
        (b"a", "a="),
        (b"a=", "a="),
        (b"a&", "a="),
        (b"=b", "=b"),
        (b"=", "="),
        (b"&", "="),
        (b"a&&b", "a=|=|b="),
        (b"a=1&&", "a=1|="),
        (b"a=b=c", "a=b=c"),
        (b"a%3db=c%26d+e", "a=b=c&d e"),
        (b"a%=1&b=%4&c=%zz", "!a%=1|!b=%4|!c=%zz"),
        (b"a=%u0041", "!a=%u0041"),
        (b"a;b", "a;b="),
    ];
    for (input, expected) in cases {
        assert_eq!(read(input, b'&'), *expected, "{}", String::from_utf8_lossy(input));
    }
    assert_eq!(read(b"a=1;b=2&c", b';'), "a=1|b=2&c");
}

#[test]
fn cookies() {
    let read = |input: &[u8], separator| {
        let pairs = cookies::pairs(input, separator);
        let pair = |(name, value)| format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value));
        pairs.map(pair).collect::<Vec<_>>().join("|")
    };
    let cases: &[(&[u8], &str)] = &[
        (b"", ""),
        (b"a=1; b=2", "a=1|b=2"),
        (b"a=1;b=2;", "a=1|b=2"),
        (b" ; ;a", "a="),
        (b"a=b=c; d=\"e f\"", "a=b=c|d=\"e f\""),
        (b"=x", "=x"),
        (b"a=%41+b", "a=%41+b"),
        (b"a=1 ; b = 2", "a=1 |b = 2"),
    ];
    for (input, expected) in cases {
        assert_eq!(read(input, b';'), *expected, "{}", String::from_utf8_lossy(input));
    }
    assert_eq!(read(b"a=1,b=2;c", b','), "a=1|b=2;c");
}

fn indexed(body: &[u8]) -> json::Json {
    json::parse(body, &json::Options::default())
}

#[test]
fn leaves_of_json_are_named_by_their_path() {
    let repeated = json::Options { naming: json::Naming::Repeated, ..json::Options::default() };
    let cases: &[(&[u8], &str, &str)] = &[
        (br#"{"a":{"b":1}}"#, "json.a.b=1", "a.b=1"),
        (br#"{"foo":[{"bar":"payload"}]}"#, "json.foo.array_0.bar=payload", "foo.foo.bar=payload"),
        (
            br#"{"a":[[1,2],3],"b":4}"#,
            "json.a.array_0.array_0=1 json.a.array_0.array_1=2 json.a.array_1=3 json.b=4",
            "a.a.a=1 a.a.a=2 a.a=3 b=4",
        ),
        (
            br#"["x",{"a":1},[2]]"#,
            "json.array_0=x json.array_1.a=1 json.array_2.array_0=2",
            "array.array=x array.array.a=1 array.array.array=2",
        ),
        (
            br#" {"a" : -1.50e+3 , "b":true,"c":false,"d":null,"e":""} "#,
            "json.a=-1.50e+3 json.b=true json.c=false json.d= json.e=",
            "a=-1.50e+3 b=true c=false d= e=",
        ),
        (br#"{"a":1,"a":2}"#, "json.a=1 json.a=2", "a=1 a=2"),
        (br#"{"a.b":{"c":[0]}}"#, "json.a.b.c.array_0=0", "a.b.c.c=0"),
        (br#"{"":{"":1}}"#, "json..=1", "=1"),
        (br#"{"a":{},"b":[],"c":0}"#, "json.c=0", "c=0"),
        (b"{}", "", ""),
        (b"[]", "", ""),
        (b"\"x\"", "json=x", "=x"),
        (b"0", "json=0", "=0"),
    ];
    for (body, first, second) in cases {
        let shown = String::from_utf8_lossy(body);
        let read = indexed(body);
        assert_eq!((arguments(&read.arguments).as_str(), read.error), (*first, None), "{shown}");
        let read = json::parse(body, &repeated);
        assert_eq!((arguments(&read.arguments).as_str(), read.error), (*second, None), "{shown}");
    }
}

#[test]
fn strings_of_json_are_decoded() {
    let body = br#"["\"\\\/\b\f\n\r\t","\u0041\u00e9\u20AC\ud83d\ude00\u0000","\ud83d\u0041\ud83dx\ude00"]"#;
    let read = indexed(body);
    assert_eq!(read.error, None);
    let values: Vec<&[u8]> = read.arguments.iter().map(|argument| &argument.value[..]).collect();
    assert_eq!(values, [&b"\"\\/\x08\x0c\n\r\t"[..], "Aé€😀\0".as_bytes(), b"?A?x?"]);
}

/// RFC 8259, sections 3 to 8.
#[test]
fn what_is_not_json_is_an_error_after_what_was_read() {
    let cases: &[&[u8]] = &[
        b"",
        b" ",
        b"{",
        b"[",
        b"[1",
        b"[1,",
        b"[1,]",
        b"[,1]",
        b"{\"a\"}",
        b"{\"a\":}",
        b"{\"a\":1,}",
        b"{a:1}",
        b"{1:1}",
        b"[1}",
        b"{\"a\":1]",
        b"1 2",
        b"{}x",
        b"01",
        b"-",
        b"1.",
        b".5",
        b"1e",
        b"+1",
        b"0x1",
        b"tru",
        b"nul",
        b"True",
        b"'a'",
        b"\"a",
        b"\"\\x\"",
        b"\"\\u12\"",
        b"\"\\u+123\"",
        b"\"a\nb\"",
        b"\"\xff\"",
        b"\xef\xbb\xbf{}",
        b"// a\n1",
        b"NaN",
        b"\"a\0\"",
    ];
    for body in cases {
        let read = indexed(body);
        let error = read.error.unwrap_or_else(|| panic!("{} is no JSON", String::from_utf8_lossy(body)));
        assert!(error.starts_with("JSON parsing error: "), "{error}");
    }
    let read = indexed(b"{\"a\":\"<script>\",\"b\":x}");
    assert_eq!(arguments(&read.arguments), "json.a=<script>");
    assert!(read.error.is_some());
}

#[test]
fn json_has_limits() {
    let few = json::Options { max_depth: 3, max_arguments: 2, ..json::Options::default() };
    assert_eq!(json::parse(b"[[[1]]]", &few).error, None);
    assert!(json::parse(b"[[[[1]]]]", &few).error.unwrap().contains("nested deeper than 3"));
    assert!(json::parse(b"[[[[]]]]", &few).error.unwrap().contains("nested deeper than 3"));
    let read = json::parse(b"[1,2,3]", &few);
    assert_eq!((read.arguments.len(), read.error.unwrap().contains("more than 2")), (2, true));
    let key = "k".repeat(5000);
    assert!(indexed(format!("{{\"{key}\":[1,2]}}").as_bytes()).error.unwrap().contains("path"));
    // A million levels are read without as many calls.
    let deep = json::Options { max_depth: usize::MAX, ..json::Options::default() };
    let nested = vec![b'['; 1_000_000];
    assert!(json::parse(&nested, &deep).error.is_some());
}

#[test]
fn xml_is_its_text_and_its_attributes() {
    let cases: &[(&str, &str, &[&str])] = &[
        ("<a>x</a>", "x", &[]),
        ("<?xml version=\"1.0\" encoding='UTF-8'?>\n<a b='1' c=\"2\">x<d e = '3'/>y</a>\n", "xy", &["1", "2", "3"]),
        ("<a><!-- no --><?php no?>x<![CDATA[<y>&]]></a>", "x<y>&", &[]),
        ("<a b='&lt;&#65;&#x42;&amp;'>&gt;&quot;&apos;</a>", ">\"'", &["<AB&"]),
        ("<a:b xmlns:a='u' xmlns='v' a:c='1'><é/></a:b >", "", &["1"]),
        ("<!DOCTYPE a><a>x</a>", "x", &[]),
        (
            "<!DOCTYPE a [<!ENTITY e \"x<y&#33;&f;\"><!ENTITY f 'z'><!-- > ] -->]><a b='&e;'>&e;&f;</a>",
            "x<y!&f;z",
            &["x<y!&f;"],
        ),
        (
            "<!DOCTYPE a SYSTEM \"http://example.com/a.dtd\" [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><a>x&e;y</a>",
            "xy",
            &[],
        ),
        (
            "<!DOCTYPE a [<!ENTITY % p 'q'><!ELEMENT a (#PCDATA)><!ENTITY e 'first'><!ENTITY e 'second'>]><a>&e;</a>",
            "first",
            &[],
        ),
        ("\u{feff}<a/>", "", &[]),
    ];
    for (body, text, attributes) in cases {
        let read = xml::parse(body.as_bytes());
        assert_eq!(read.error, None, "{body}");
        assert_eq!(String::from_utf8_lossy(&read.text), *text, "{body}");
        let found: Vec<_> = read.attributes.iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect();
        assert_eq!(found, *attributes, "{body}");
    }
    let latin = xml::parse(b"<?xml version='1.0' encoding='ISO-8859-1'?><a>\xe9</a>");
    assert_eq!((latin.text, latin.error), ("é".into(), None));
}

/// XML 1.0, constraints of well-formedness.
#[test]
fn what_is_not_well_formed_is_an_error() {
    let cases = [
        "",
        "x",
        "<a>",
        "<a></b>",
        "</a>",
        "<a/><b/>",
        "<a/>x",
        "x<a/>",
        "<a b/>",
        "<a b=c/>",
        "<a b='1/>",
        "<a b='1'c='2'/>",
        "<a b='1' b='2'/>",
        "<a b='<'/>",
        "<a>&x;</a>",
        "<a>&amp</a>",
        "<a>& </a>",
        "<a>&#0;</a>",
        "<a>&#xd800;</a>",
        "<a>]]></a>",
        "<a>\u{1}</a>",
        "<1/>",
        "<a",
        "<a><!-- -- --></a>",
        "<a><!-- </a>",
        "<!DOCTYPE a",
        "<a/><!DOCTYPE a>",
        " <?xml version='1.0'?><a/>",
        "<a><![CDATA[</a>",
        "<![CDATA[x]]>",
        "<a><?x</a>",
        "<??><a/>",
        "<?xml version='1.0' encoding='UTF-16'?><a/>",
        "<!-- only -->",
        "< a/>",
        "<a / >",
    ];
    for body in cases {
        let error = xml::parse(body.as_bytes()).error.unwrap_or_else(|| panic!("{body} is not well-formed"));
        assert!(error.starts_with("XML parsing error: "), "{error}");
    }
    assert!(xml::parse(b"<a>\xff</a>").error.is_some());
    let read = xml::parse(b"<a b='1'>x<");
    assert_eq!((&read.text[..], read.attributes.len(), read.error.is_some()), (&b"x"[..], 1, true));
}

#[test]
fn xml_has_limits() {
    let nested = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
    assert_eq!(xml::parse(nested(256).as_bytes()).error, None);
    assert!(xml::parse(nested(257).as_bytes()).error.unwrap().contains("too deep"));
    let entity = format!("<!DOCTYPE a [<!ENTITY e '{}'>]><a>{}</a>", "x".repeat(1000), "&e;".repeat(1000));
    let read = xml::parse(entity.as_bytes());
    assert!(read.text.len() <= 64 << 10 && read.error.unwrap().contains("too long"));
}
