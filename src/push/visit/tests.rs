//! Visits to phones that answer as every vendor's do, and as hosts that mean harm.

use std::cell::RefCell;

use super::*;
use crate::device::Vendor;
use crate::profile::Catalog;

const URL: &str = "http://192.0.2.1:8480/d/0123456789abcdef0123456789abcdef/";
const OWN: &str = "Own-S3cret\"&%";
const LOGIN_PAGE: &str = "<title>Login</title><input name=\"encoded\">";

fn factory(password: &str) -> Credential {
    Credential { password: Secret::new(password), own: false }
}

fn own() -> Credential {
    Credential { password: Secret::new(OWN), own: true }
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n\r\n{body}")
}

/// A visit to a phone that answers so; `None`: it hangs up. Gives the octets that it received.
fn visit(
    (vendor, name): (&str, &str),
    credentials: Vec<Credential>,
    phone: impl Fn(&str) -> Option<String>,
) -> (Vec<String>, Result<(), Refusal>) {
    let catalog = Catalog::builtin().unwrap();
    let profile = catalog.get(&Vendor::new(vendor)).unwrap();
    let all = profile.models().flat_map(|model| profile.visits(Some(&model.name))).collect::<Vec<_>>();
    let visit = all.into_iter().find(|visit| visit.name == name).unwrap();
    let aims = Aims {
        phone: Ipv4Addr::new(192, 0, 2, 9),
        url: Secret::new(URL),
        now_ms: 7,
        cnonce: "c0ffee".to_owned(),
    };
    let mut visitor = Visitor::new(visit, &aims, credentials);
    let mut heard = Vec::new();
    loop {
        match visitor.next_command() {
            Next::Over(end) => return (heard, end),
            Next::Send(request) => {
                let text = String::from_utf8(request.bytes.to_vec()).unwrap();
                let answer = phone(&text);
                heard.push(text);
                match &answer {
                    None => visitor.handle(&Heard::Dropped),
                    Some(answer) => {
                        visitor.handle(&Heard::Answer(WebAnswer::read(answer.as_bytes()).unwrap()));
                    }
                }
            }
        }
        assert!(heard.len() < 50, "a visit ends");
    }
}

fn asked(heard: &[String]) -> Vec<&str> {
    heard.iter().map(|text| text.lines().next().unwrap().trim_end_matches(" HTTP/1.1")).collect()
}

fn why(end: Result<(), Refusal>) -> (Stage, Why) {
    let refusal = end.unwrap_err();
    (refusal.stage, refusal.why)
}

fn challenge(with: &str) -> String {
    format!("HTTP/1.1 401 No\r\nServer: Aragorn\r\nWWW-Authenticate: {with}\r\n\r\n")
}

/// An old Yealink phone with this password.
fn basic(password: &'static str) -> impl Fn(&str) -> Option<String> {
    move |text| {
        use base64::Engine as _;
        let proof = base64::engine::general_purpose::STANDARD.encode(format!("admin:{password}"));
        let is_in = text.contains(&format!("Authorization: Basic {proof}\r\n"));
        Some(if is_in { ok("") } else { challenge("Basic realm=\"Enterprise IP phone SIP-T26P\"") })
    }
}

#[test]
fn a_phone_without_a_password_is_shown_none() {
    let page = |_: &str| Some("HTTP/1.1 200 OK\r\nServer: snom embedded\r\n\r\n<TITLE>snom 370".to_owned());
    let (heard, end) = visit(("snom", "snom"), vec![factory("admin")], page);
    assert_eq!(end, Ok(()));
    assert_eq!(
        asked(&heard),
        [
            "GET /",
            "GET /",
            "GET /dummy.htm?settings=save&setting_server=http%3A%2F%2F192.0.2.1%3A8480%2Fd%2F\
             0123456789abcdef0123456789abcdef%2F&update_policy=auto_update&store_settings=save",
            "GET /advanced_update.htm?reboot=Reboot",
        ]
    );
    assert!(heard.iter().all(|text| !text.contains("Authorization") && text.contains("Host: 192.0.2.9\r\n")));
    let asks = |_: &str| Some(challenge("Basic realm=\"snom\""));
    let (heard, end) = visit(("snom", "snom"), vec![], asks);
    assert_eq!((heard.len(), why(end)), (2, (Stage::Login, Why::NoPassword)));
}

#[test]
fn a_challenge_is_answered_once_for_each_password() {
    let (heard, end) = visit(("yealink", "yealink-basic"), vec![factory("admin")], basic("admin"));
    assert_eq!(end, Ok(()));
    let form = heard.last().unwrap();
    assert!(
        form.contains("\r\n\r\nPAGEID=16&CONFIG_DATA=%C3%BE1%C3%BEhttp%3A%2F%2F192.0.2.1%3A8480%2Fd%2F"),
        "{form}"
    );
    assert_eq!(heard.len(), 4, "what it asks once it is given each time");

    let (heard, end) = visit(("yealink", "yealink-basic"), vec![factory("a"), factory("b")], basic("x"));
    assert_eq!(why(end), (Stage::Login, Why::WrongPassword));
    let proofs = heard.iter().filter(|text| text.contains("Authorization")).count();
    assert_eq!(proofs, 2, "{heard:?}");
    let (_, end) = visit(("yealink", "yealink-basic"), vec![factory("a"), factory("x")], basic("x"));
    assert_eq!(end, Ok(()), "the second is taken");
}

#[test]
fn a_phones_own_password_leaves_only_digested() {
    let never = |heard: &[String]| {
        let escaped = percent(OWN);
        heard.iter().all(|text| !text.contains(OWN) && !text.contains("Own-S3") && !text.contains(&escaped))
    };
    let clear = |stage| Err((stage, Why::Clear));
    let check =
        |of: (&str, &str), expected: Result<(), (Stage, Why)>, phone: &dyn Fn(&str) -> Option<String>| {
            let (heard, end) = visit(of, vec![own()], phone);
            assert!(never(&heard), "{of:?}: {heard:?}");
            assert_eq!(end.map_err(|refusal| (refusal.stage, refusal.why)), expected, "{of:?}");
        };
    check(("yealink", "yealink-basic"), clear(Stage::Login), &basic("x"));
    check(("yealink", "yealink-api"), clear(Stage::Login), &|_| Some(ok("{\"webStatus\":\"noauth\"}")));
    check(("gigaset", "gigaset"), clear(Stage::Login), &|_| Some(ok("<input name=password>")));
    check(("grandstream", "grandstream-cgi"), clear(Stage::Login), &|_| Some(ok("/cgi-bin/dologin")));
    let digest = |text: &str| {
        Some(if text.contains("Authorization: Digest ") {
            "HTTP/1.1 200 OK\r\nServer: Aragorn\r\n\r\nProvisioning complete".to_owned()
        } else {
            challenge("Basic realm=\"x\", Digest realm=\"x\", nonce=\"n\", qop=\"auth\"")
        })
    };
    check(("mitel", "aastra"), Ok(()), &digest);
    check(("mitel", "aastra"), clear(Stage::Login), &|_| Some(challenge("Basic realm=\"Mitel 6867i\"")));
    let proved = |text: &str| match text {
        _ if text.starts_with("POST /cgi-bin/access") => Some(ok(r#"{"response":"success","body":"t0ken"}"#)),
        _ if text.starts_with("POST /cgi-bin/dologin") => Some(ok(r#"{"body":{"sid":"s1"}}"#)),
        _ => Some(ok(r#"{"response":"success"}"#)),
    };
    check(("grandstream", "grandstream-access"), Ok(()), &proved);
}

#[test]
fn the_proof_of_a_password_is_what_the_phone_computes() {
    let phone = |text: &str| match text {
        _ if text.starts_with("POST /cgi-bin/access") => Some(ok(r#"{"response":"success","body":"t0ken"}"#)),
        _ if text.starts_with("POST /cgi-bin/dologin") => {
            let proof = hex(&Sha256::digest(b"admint0ken"));
            assert!(text.ends_with(&format!("username=admin&password={proof}")), "{text}");
            Some(
                ok(r#"{"body":{"sid":"s1","role":"admin"}}"#)
                    .replace("OK\r\n", "OK\r\nSet-Cookie: session-identity=s1; path=/\r\n"),
            )
        }
        _ => {
            assert!(
                text.contains("Cookie: session-identity=s1\r\nOrigin")
                    || text.contains("Cookie: session-identity=s1\r\n")
            );
            assert!(text.contains("Origin: http://192.0.2.9\r\nReferer: http://192.0.2.9/\r\n"), "{text}");
            Some(ok(r#"{"response":"success"}"#))
        }
    };
    let (heard, end) = visit(("grandstream", "grandstream-access"), vec![factory("admin")], phone);
    assert_eq!(end, Ok(()));
    assert_eq!(asked(&heard)[3], "PUT /cgi-bin/config_update?sid=s1");
    let body = heard[3].split("\r\n\r\n").nth(1).unwrap();
    assert_eq!(
        body,
        r#"{"alias":{},"pvalue":{"212":"1","237":"192.0.2.1:8480/d/0123456789abcdef0123456789abcdef"}}"#
    );
}

#[test]
fn whoever_was_let_in_leaves_whatever_happens() {
    let fanvil = |refuses: &'static str| {
        move |text: &str| match text {
            _ if text.starts_with(refuses) => None,
            _ if text.starts_with("GET /key==nonce") => Some(ok("abcd1234")),
            _ if text.starts_with("POST /config.htm") => Some(ok("Submit Success")),
            _ if text.contains("Cookie: auth=abcd1234") => Some(ok("realws.htm")),
            _ => Some(ok(LOGIN_PAGE)),
        }
    };
    let (heard, end) = visit(("fanvil", "fanvil"), vec![factory("admin")], fanvil("never"));
    assert_eq!(end, Ok(()));
    let proof = hex(&Md5::digest(b"admin:admin:abcd1234"));
    assert!(heard[2].contains(&format!("encoded=admin%3A{proof}&CurLanguage=en")), "{}", heard[2]);
    let upload = &heard[4];
    assert!(upload.contains(&format!("\r\nDownload Server IP :{URL}\r\n")), "{upload}");
    assert!(upload.ends_with("\r\n--offhook-configuration--\r\n") && !upload.contains("\r\r"), "{upload}");
    assert!(asked(&heard).last().unwrap().starts_with("POST /LogOut.htm"));

    let (heard, end) = visit(("fanvil", "fanvil"), vec![factory("admin")], fanvil("GET / HTTP"));
    assert_eq!((heard.len(), why(end)), (1, (Stage::Look, Why::NoAnswer)), "nothing to leave");
    let wrong = |text: &str| match text {
        _ if text.starts_with("GET /key") => Some(ok("abcd1234")),
        _ => Some(ok(LOGIN_PAGE)),
    };
    let (heard, end) = visit(("fanvil", "fanvil"), vec![factory("admin")], wrong);
    assert_eq!(why(end), (Stage::Login, Why::WrongPassword));
    assert!(asked(&heard).last().unwrap().starts_with("POST /LogOut.htm"), "{heard:?}");
    assert!(heard.iter().all(|text| !text.contains("0123456789abcdef")), "the URL stays here");
}

#[test]
fn a_lock_ends_it_whatever_passwords_are_left() {
    let phone = |text: &str| match text {
        _ if text.starts_with("POST /api/auth/login") => {
            Some(ok(r#"{"ret":"failed","error":{"webStatus":"lock","lockTime":"3"}}"#))
        }
        _ => Some(ok(r#"{"error":{"webStatus":"noauth"}}"#)),
    };
    let both = vec![factory("a"), factory("b")];
    let (heard, end) = visit(("yealink", "yealink-api"), both, phone);
    assert_eq!(why(end), (Stage::Login, Why::Locked));
    assert_eq!(heard.iter().filter(|text| text.contains("pwd=")).count(), 1);
}

#[test]
fn what_a_hostile_host_answers_goes_nowhere() {
    // A redirect is an answer of an unexpected code, and no more.
    let elsewhere = "HTTP/1.1 302 Found\r\nLocation: http://198.51.100.1/\r\nServer: snom embedded\r\n\r\n";
    let (heard, end) = visit(("snom", "snom"), vec![], |_| Some(elsewhere.to_owned()));
    assert_eq!((heard.len(), why(end)), (1, (Stage::Look, Why::Other)));
    let seen = RefCell::new(Vec::new());
    for nonce in ["a\r\nEvil: yes", "", &"x".repeat(WORD_CHARS_MAX + 1), "a;b"] {
        let phone = |text: &str| {
            seen.borrow_mut().push(text.to_owned());
            match text {
                _ if text.starts_with("POST /cgi-bin/access") => {
                    Some(ok(&format!(r#"{{"response":"success","body":"{nonce}"}}"#)))
                }
                _ => Some(ok("")),
            }
        };
        let (_, end) = visit(("grandstream", "grandstream-access"), vec![factory("admin")], phone);
        assert_eq!(why(end), (Stage::Login, Why::Words), "{nonce}");
    }
    let cookies = "HTTP/1.1 200 OK\r\nServer: snom embedded\r\nSet-Cookie: =1\r\nSet-Cookie: a=b\u{1}c\r\nSet-Cookie: x\r\n\
                   Set-Cookie: good=1; path=/\r\n\r\n<title>snom";
    let (heard, end) = visit(("snom", "snom"), vec![], |_| Some(cookies.to_owned()));
    assert_eq!(end, Ok(()));
    assert!(heard[1].contains("\r\nCookie: good=1\r\n") && !heard[1].contains('\u{1}'), "{}", heard[1]);
    assert!(seen.borrow().iter().all(|text| !text.contains("Evil")));
}

#[test]
fn words_are_escaped_where_they_stand() {
    assert_eq!(percent("a b&c=/é\r\n"), "a%20b%26c%3D%2F%C3%A9%0D%0A");
    assert_eq!(json("a\"b\\\n\""), "a\\\"b\\\\\\n\\\"");
    let words = url_words(&Secret::new("https://h/x/"));
    let get = |name: &str| words.get(name).unwrap().as_str();
    assert_eq!(
        [get("url_scheme"), get("url_host"), get("url_port"), get("url_path"), get("url_bare")],
        ["https", "h", "443", "x", "h/x"]
    );
}
