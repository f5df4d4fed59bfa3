//! URIs: RFC 3261 §19.1, RFC 3966.

use crate::wire::{Scheme, Uri};

fn uri(text: &str) -> Uri {
    text.parse().unwrap_or_else(|_| panic!("{text}"))
}

#[test]
fn a_sip_uri_has_its_parts() {
    let uri = uri("sip:alice:secret@example.com:5070;transport=tcp;lr?subject=x&priority=urgent");
    assert_eq!(uri.scheme(), Scheme::Sip);
    assert_eq!((uri.user(), uri.password()), (Some("alice"), Some("secret")));
    assert_eq!((uri.host(), uri.port()), ("example.com", Some(5070)));
    assert_eq!(
        (uri.param("Transport"), uri.param("lr"), uri.param("x")),
        (Some("tcp"), Some(""), None)
    );
    let headers: Vec<_> = uri.headers().collect();
    assert_eq!(headers, [("subject", "x"), ("priority", "urgent")]);
    let without = uri.without_headers();
    assert_eq!(without.as_str(), "sip:alice:secret@example.com:5070;transport=tcp;lr");
    assert!(!without.has_headers());
    assert_eq!(without.param("transport"), Some("tcp"));
}

#[test]
fn a_dot_in_a_user_is_the_users() {
    let uri = uri("sip:john.smith@example.com");
    assert_eq!((uri.user(), uri.host()), (Some("john.smith"), "example.com"));
}

#[test]
fn a_host_alone_is_a_uri() {
    let uri = uri("sips:[2001:db8::10]:5070;lr");
    assert_eq!((uri.scheme(), uri.user()), (Scheme::Sips, None));
    assert_eq!((uri.host(), uri.port()), ("[2001:db8::10]", Some(5070)));
    assert_eq!(uri.host_ip(), Some("2001:db8::10".parse().unwrap()));
}

#[test]
fn a_tel_uri_is_a_number_with_parameters() {
    let uri = uri("tel:+1-201-555-0123;phone-context=example.com;isub=1");
    assert_eq!((uri.scheme(), uri.user(), uri.host()), (Scheme::Tel, Some("+1-201-555-0123"), ""));
    assert_eq!(uri.param("phone-context"), Some("example.com"));
}

#[test]
fn an_unknown_scheme_is_kept_whole() {
    let uri = uri("xmpp:user@example.com/desk?x");
    assert_eq!((uri.scheme(), uri.scheme_str()), (Scheme::Other, "xmpp"));
    assert_eq!(uri.as_str(), "xmpp:user@example.com/desk?x");
    assert_eq!((uri.user(), uri.host()), (None, ""));
}

#[test]
fn what_is_no_uri_is_refused() {
    for text in [
        "",
        "sip",
        "sip:",
        ":x",
        "1sip:a",
        "s p:a",
        "sip:@h",
        "sip:a@",
        "sip:a@b@c",
        "sip:a@b;x=@",
        "sip:h:",
        "sip:h:65536",
        "sip:h:-1",
        "sip:h:x",
        "sip:[::1",
        "sip:[]",
        "sip:[1.2.3.4]",
        "sip:::1",
        "sip:a b@h",
        "sip:<a>@h",
        "sip:\"a\"@h",
        "sip:a@h/x",
        "sip:a@h\r\nVia: x",
        "sip:a@\u{7f}",
        "sip:h]",
        "sip:a@?x=1",
        "sip:;lr",
    ] {
        assert!(text.parse::<Uri>().is_err(), "{text:?}");
    }
    assert!(Uri::parse(b"sip:\xff@h").is_err());
    assert!(Uri::parse(format!("sip:{}@h", "a".repeat(70_000)).as_bytes()).is_err());
}

#[test]
fn parts_are_written_so_that_they_are_read_back() {
    let made = |user, host, port| Uri::sip(user, host, port).unwrap().to_string();
    assert_eq!(made(Some("alice"), "example.com", None), "sip:alice@example.com");
    assert_eq!(made(None, "2001:db8::1", Some(5060)), "sip:[2001:db8::1]:5060");
    assert_eq!(made(Some("a b@c:d%é"), "h", None), "sip:a%20b%40c%3Ad%25%C3%A9@h");
    let back = uri(&made(Some("a b@c:d%é"), "h", None));
    assert_eq!(back.user_unescaped().unwrap(), "a b@c:d%é".as_bytes());
    assert!(Uri::sip(Some("a"), "h h", None).is_err());
}

#[test]
fn a_parameter_is_put_before_the_headers() {
    let with = |text: &str| uri(text).with_param("transport", Some("tcp")).unwrap().to_string();
    assert_eq!(with("sip:a@h"), "sip:a@h;transport=tcp");
    assert_eq!(with("sip:a@h:5060;lr"), "sip:a@h:5060;lr;transport=tcp");
    assert_eq!(with("sip:a@h?x=1"), "sip:a@h;transport=tcp?x=1");
    assert_eq!(with("sip:a@h;lr?x=1"), "sip:a@h;lr;transport=tcp?x=1");
    assert_eq!(with("tel:+1"), "tel:+1;transport=tcp");
    assert_eq!(uri("sip:h").with_param("lr", None).unwrap().as_str(), "sip:h;lr");
}

#[test]
fn equal_uris_of_rfc_3261_19_1_4_are_equal() {
    for (one, two) in [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
        ("tel:+1-201-555-0123", "tel:+1.201.555.0123"),
        ("sip:a@[2001:DB8::1]", "sip:a@[2001:db8:0::1]"),
    ] {
        assert_eq!(uri(one), uri(two));
        assert_eq!(uri(two), uri(one));
    }
}

#[test]
fn other_uris_of_rfc_3261_19_1_4_are_not_equal() {
    for (one, two) in [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com:6000;transport=tcp", "sip:bob@biloxi.com"),
        ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;newparam=6"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:bob@biloxi.com;user=phone", "sip:bob@biloxi.com"),
        ("sip:bob@biloxi.com;maddr=x", "sip:bob@biloxi.com"),
        ("sip:bob@h", "sips:bob@h"),
        ("sip:%00@h", "sip:%00%00@h"),
        ("sip:a%3Bb@h", "sip:a;b@h"),
        ("sip:bob:x@h", "sip:bob@h"),
        ("tel:+1;phone-context=a.com", "tel:+1;phone-context=b.com"),
    ] {
        assert_ne!(uri(one), uri(two));
        assert_ne!(uri(two), uri(one));
    }
}

#[test]
fn a_uri_survives_serialisation() {
    let one = uri("sip:a@[::1]:5060;lr?x=1");
    let json = serde_json::to_string(&one).unwrap();
    let back: Uri = serde_json::from_str(&json).unwrap();
    assert_eq!(back.as_str(), one.as_str());
    assert!(serde_json::from_str::<Uri>("\"nonsense\"").is_err());
}
