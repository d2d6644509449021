//! Web interfaces of simulated phones that are told where their configuration is, each by the forms of its vendor. The
//! phone fetches from there for real, from a server of files.

use md5::{Digest as _, Md5};

use super::super::scripted::web_server;
use super::{Browser, GIVEN, Got, Guest, OWN, access, basic, encoded, guest};
use crate::hex::hex;

/// A phone whose page is told a URL by `tell`, which gets the browser and the URL; it must fetch this file then.
async fn check_url<F>(guest: Guest, folder: &str, file: &str, body: &str, tell: F)
where
    F: AsyncFnOnce(&mut Browser, &str),
{
    let path = format!("/{folder}{file}");
    let web = web_server(&[(path.as_str(), body.to_owned())]).await;
    let url = format!("http://{}/{folder}", web.0);
    let model = guest.spec.model.clone();
    let (mut phone, mut browser) = guest.up().await;
    tell(&mut browser, &url).await;
    let fetched = phone.told(file).await;
    assert!(fetched.contains("200"), "{model}: {fetched}");
    phone.off().await;
}

const SNOM_FILE: &str = "<?xml version=\"1.0\"?><settings><phone-settings><language>Deutsch</language></phone-settings></settings>";
const GRANDSTREAM_FILE: &str = "<?xml version=\"1.0\"?><gs_provision version=\"1\"><config version=\"1\"><P271>0</P271></config></gs_provision>";

#[tokio::test]
async fn a_snom_is_told_its_url_by_page_and_by_address() {
    check_url(guest("snom", "D385", None, 76), "", "x.xml", SNOM_FILE, async |browser, url| {
        let target = format!(
            "/dummy.htm?settings=save&setting_server={}&update_policy=auto_update",
            encoded(&format!("{url}x.xml"))
        );
        assert_eq!(browser.get(&target).await.status, 200);
        assert_eq!(browser.get("/advanced_update.htm?reboot=Reboot").await.status, 302);
    })
    .await;
    check_url(
        guest("snom", "D385", None, 77).with_password(),
        "",
        "x.xml",
        SNOM_FILE,
        async |browser, url| {
            let form = format!("setting_server={}&Settings=Save", encoded(&format!("{url}x.xml")));
            let own = basic(GIVEN);
            assert_eq!(browser.post("/advanced_update.htm", &form).await.status, 401);
            let authorized = [("Authorization", own.as_str())];
            assert_eq!(browser.ask("POST", "/advanced_update.htm", &authorized, &form).await.status, 200);
            assert_eq!(browser.ask("POST", "/confirm.htm", &authorized, "REBOOT=Yes").await.status, 200);
        },
    )
    .await;
}

#[tokio::test]
async fn a_licence_comes_before_the_url() {
    check_url(guest("snom", "300", Some("snom-m9"), 78), "", "x.xml", SNOM_FILE, async |browser, url| {
        let form = format!("setting_server={}&save=Save", encoded(&format!("{url}x.xml")));
        browser.post("/index.htm", "username=admin&password=admin&submit=Login").await;
        assert!(browser.post("/network.htm", &form).await.body.contains("eula"));
        browser.post("/index.htm", "eula=accept&save=Submit").await;
        assert!(browser.post("/network.htm", &form).await.body.contains("Please reboot"));
        browser.post("/update.htm", "reboot=Reboot").await;
    })
    .await;
}

#[tokio::test]
async fn a_yealink_is_told_its_url() {
    let common = "#!version:1.0.0.1\nlang.gui = German\n";
    check_url(guest("yealink", "T28P", None, 79), "p/", "805ec0aabbcc.cfg", common, async |browser, url| {
        let thorns = encoded(&format!("þ1þ{url}þþ********þ"));
        let form = format!("PAGEID=16&CONFIG_DATA={thorns}");
        assert_eq!(browser.post("/cgi-bin/ConfigManApp.com", &form).await.status, 401);
        let own = basic("admin");
        let authorized = [("Authorization", own.as_str())];
        assert_eq!(browser.ask("POST", "/cgi-bin/ConfigManApp.com", &authorized, &form).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn a_yealink_that_speaks_json_is_told_its_url() {
    let common = "#!version:1.0.0.1\nlang.gui = German\n";
    check_url(guest("yealink", "T46U", None, 80), "p/", "805ec0aabbcc.cfg", common, async |browser, url| {
        let json = format!("{{\"formData\":{{\"AutoProvisionServerURL\":\"{url}\"}}}}");
        let write = "/api/inner/writeconfig?p=SettingAutop";
        assert!(browser.post(write, &json).await.body.contains("noauth"));
        browser.post("/api/auth/login?p=Login", "username=admin&pwd=admin").await;
        assert!(browser.post(write, &json).await.body.contains("\"data\":\"change\""));
        assert!(browser.post("/api/autop/now?p=SettingAutop", "").await.body.contains("\"ok\""));
    })
    .await;
}

#[tokio::test]
async fn a_grandstream_of_each_age_is_told_its_url() {
    let file = "cfg805ec0aabbcc.xml";
    let bare = |url: &str| encoded(url.trim_start_matches("http://"));
    check_url(
        guest("grandstream", "GXP2135", Some("grandstream-form"), 81),
        "g/",
        file,
        GRANDSTREAM_FILE,
        async |browser, url| {
            let form = format!("P212=1&P237={}&gnkey=0b82", bare(url));
            assert!(browser.post("/update.htm", &form).await.body.contains("dologin.htm"));
            browser.post("/dologin.htm", "Login=Login&P2=admin&gnkey=0b82").await;
            assert!(!browser.post("/update.htm", &form).await.body.contains("dologin.htm"));
            browser.get("/rs.htm").await;
        },
    )
    .await;
    check_url(
        guest("grandstream", "GXP2135", Some("grandstream-cgi"), 82),
        "g/",
        file,
        GRANDSTREAM_FILE,
        async |browser, url| {
            browser.post("/cgi-bin/dologin", "Login=Login&P2=admin&gnkey=0b82").await;
            browser.post("/cgi-bin/update", &format!("P212=1&P237={}&gnkey=0b82", bare(url))).await;
            browser.get("/cgi-bin/rs").await;
        },
    )
    .await;
    check_url(guest("grandstream", "HT801", None, 83), "g/", file, GRANDSTREAM_FILE, async |browser, url| {
        let form = format!("P212=1&P237={}", bare(url));
        assert!(browser.post("/cgi-bin/api.values.post", &form).await.body.contains("session-expired"));
        let got = browser.post("/cgi-bin/dologin", "password=admin").await;
        let sid = got.body.split('"').nth(9).unwrap().to_owned();
        let got = browser.post("/cgi-bin/api.values.post", &format!("{form}&sid={sid}")).await;
        assert!(got.body.contains("right"), "{got:?}");
        browser.get("/cgi-bin/api-sys_operation?passcode=admin&request=REBOOT").await;
    })
    .await;
    check_url(
        guest("grandstream", "GXP2135", None, 84),
        "g/",
        file,
        GRANDSTREAM_FILE,
        async |browser, url| {
            assert!(access(browser, "admin").await.body.contains("\"sid\""));
            let json = format!("{{\"alias\":{{}},\"pvalue\":{{\"212\":\"1\",\"237\":\"{url}\"}}}}");
            let got = browser.ask("PUT", "/cgi-bin/config_update", &OWN, &json).await;
            assert!(got.body.contains("success"), "{got:?}");
            browser.ask("POST", "/cgi-bin/api-sys_operation", &OWN, "request=PROV").await;
        },
    )
    .await;
}

#[tokio::test]
async fn a_grandstream_with_android_is_told_its_url() {
    let (mut phone, mut browser) = guest("grandstream", "GXV3350", None, 85).up().await;
    let put = "action=put&var-0000=237&val-0000=10.0.0.1/g/";
    assert!(browser.post("/manager", put).await.body.contains("Error"));
    assert!(browser.get("/manager?action=login&Username=admin&Secret=x&time=0").await.body.contains("Error"));
    assert!(
        browser
            .get("/manager?action=login&Username=admin&Secret=admin&time=0")
            .await
            .body
            .contains("accepted")
    );
    assert!(browser.post("/manager", put).await.body.contains("Success"));
    phone.told("sets P237").await;
    phone.off().await;
}

async fn enter_fanvil(browser: &mut Browser, password: &str) -> Got {
    browser.get("/").await;
    let nonce = browser.get("/key==nonce?now=1").await.body;
    let hash = hex(&Md5::digest(format!("admin:{password}:{nonce}").as_bytes()));
    browser
        .post("/", &format!("encoded={}&CurLanguage=en&ReturnPage=%2F", encoded(&format!("admin:{hash}"))))
        .await
}

#[tokio::test]
async fn a_fanvil_is_given_a_configuration_behind_its_nonce() {
    let text = "<<VOIP CONFIG FILE>>Version:2.0002\r\n<<END OF FILE>>\r\n";
    check_url(guest("fanvil", "C58", None, 86), "f/", "805ec0aabbcc.cfg", text, async |browser, url| {
        assert!(enter_fanvil(browser, "nonsense").await.body.contains("<title>Login"));
        assert!(browser.get("/").await.body.contains("<title>Login"));
        assert!(enter_fanvil(browser, "admin").await.body.contains("realws.htm"));
        assert!(browser.get("/").await.body.contains("realws.htm"));
        assert!(browser.get("/information.htm").await.body.contains("C58"));
        let file =
            format!("<<VOIP CONFIG FILE>>Version:2.0003\r\nDownload Server IP :{url}\r\n<<END OF FILE>>\r\n");
        let form =
            format!("--b\r\nContent-Disposition: form-data; name=\"CONFIG\"\r\n\r\n{file}\r\n--b--\r\n");
        let kind = [("Content-Type", "multipart/form-data; boundary=b")];
        assert!(browser.ask("POST", "/config.htm", &kind, &form).await.body.contains("Submit Success"));
    })
    .await;
}

#[tokio::test]
async fn a_gigaset_is_told_its_url_behind_its_pin() {
    let file = "<?xml version=\"1.0\"?><ProviderFrame><Provider></Provider></ProviderFrame>";
    check_url(
        guest("gigaset", "N510 IP PRO", None, 87),
        "d/",
        "805EC0AABBCC.xml",
        file,
        async |browser, url| {
            let form = format!("data_server={}&execute_fw_download=1", encoded(url));
            assert_eq!(browser.post("/settings_admin_special.html", &form).await.status, 302);
            let got = browser.post("/login.html", "language=1&password=0000").await;
            assert!(got.head.contains("/security_advice.html"), "a PIN as sold is warned of: {got:?}");
            browser.post("/security_advice.html", "disable_advice=0").await;
            assert!(browser.get("/status_device.html").await.body.contains("80:5E:C0:AA:BB:CC"));
            assert_eq!(browser.post("/settings_admin_special.html", &form).await.status, 200);
        },
    )
    .await;
}

#[tokio::test]
async fn an_aastra_is_told_its_url_once_it_was_looked_at() {
    check_url(
        guest("mitel", "6757i", None, 88),
        "",
        "805EC0AABBCC.cfg",
        "time server1: 10.0.0.1\n",
        async |browser, url| {
            let host = url.trim_start_matches("http://").trim_end_matches('/').split(':').collect::<Vec<_>>();
            let form = format!("protocol=HTTP&httpserv={}&httppath=%2F&httpport={}", host[0], host[1]);
            let own = basic("22222");
            let authorized = [("Authorization", own.as_str())];
            let set = "/configurationServer.html";
            assert!(browser.ask("POST", set, &authorized, &form).await.body.contains("sysinfo.html"));
            browser.ask("GET", "/sysinfo.html", &authorized, "").await;
            assert!(
                browser.ask("POST", set, &authorized, &form).await.body.contains("Provisioning complete")
            );
            browser.ask("POST", "/reset.html", &authorized, "resetOption=0").await;
        },
    )
    .await;
}
