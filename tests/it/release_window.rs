//! The window on the host's own clocks: an agent that is killed, one whose host boots anew, and what a phone gets when
//! its ten minutes are over. A time namespace moves the agent's boot clock, a mount its boot's name.

use crate::agent::{Agent, Setup};
use crate::lab::{self, Lab};
use crate::release::{FILE, MAC, SERVER, Site, curl, get, site};

/// The agent starts again, so many seconds later on the boot clock.
fn later(site: &mut Site<'_>, seconds: &str) {
    site.agent.begin(&["unshare", "-T", "--boottime", seconds]);
}

/// From now on, the host has booted anew.
fn boot(lab: &Lab) {
    let id = lab.file("boot_id", "c0ffee00-0000-4000-8000-000000000001\n");
    lab::tool(&["mount", "--bind", id.to_str().unwrap(), "/proc/sys/kernel/random/boot_id"]);
}

#[test]
fn case_03_23_after_the_window_no_parameter_of_a_password_is_left() {
    lab::run("release_window::case_03_23_after_the_window_no_parameter_of_a_password_is_left", |lab| {
        site(lab, "", |site| {
            let first = get(&site.phone);
            assert!(first.is_full(), "{first:?}");
            site.agent.audited("acked");
            site.agent.end();
            later(site, "590");
            let in_time = get(&site.phone);
            assert!(in_time.is_full() && in_time.body == first.body);
            lab::poll("the second delivery", || (site.agent.audit("acked").len() == 2).then_some(()));
            site.agent.end();

            later(site, "601");
            let after = get(&site.phone);
            assert!(after.is_plain(), "{after:?}");
            let condition = format!("If-None-Match: {}", first.header("etag").unwrap());
            let known = curl(&site.phone, &format!("http://{SERVER}:8480/{FILE}"), &["-H", &condition]);
            assert!(known.is_plain() && known.header("etag") != first.header("etag"), "{known:?}");
            assert_eq!(without_secrets(&first.body), after.body, "nothing else has changed");
            lab::poll("the closed window", || (site.agent.state(MAC) == "locked").then_some(()));
        });
    });
}

/// The lines of the file that name no password.
fn without_secrets(body: &str) -> String {
    let named =
        |line: &&str| !["_pass", "_password", "<setting_server"].iter().any(|part| line.contains(part));
    body.split_inclusive('\n').filter(named).collect()
}

#[test]
fn case_03_a_phone_that_never_had_them_all_is_told_nothing() {
    lab::run("release_window::case_03_a_phone_that_never_had_them_all_is_told_nothing", |lab| {
        site(lab, "", |site| {
            drop(crate::release::stalled(&site.phone));
            site.agent.kill();
            later(site, "601");
            let after = get(&site.phone);
            assert_eq!((after.status, after.body.contains("user_name")), (403, false), "{after:?}");
            assert_eq!(site.agent.alarmed("never_provisioned")["mac"], MAC);
        });
    });
}

#[test]
fn case_26_a_killed_agent_goes_on_with_the_window() {
    lab::run("release_window::case_26_a_killed_agent_goes_on_with_the_window", |lab| {
        site(lab, "", |site| {
            let first = get(&site.phone);
            let opened = site.agent.audited("released")["epoch"].clone();
            let under_way = crate::release::stalled(&site.phone);
            site.agent.kill();
            later(site, "180");
            let again = get(&site.phone);
            assert!(again.is_full(), "{again:?}");
            assert_eq!((&again.body, again.header("etag")), (&first.body, first.header("etag")));
            drop(under_way);
            assert!(site.agent.audit("released").iter().all(|row| row["epoch"] == opened));
            assert_eq!((site.agent.state(MAC), site.agent.releases(MAC)), ("open", 3));
            // The seven minutes that are left, and no more.
            site.agent.audited("acked");
            site.agent.kill();
            later(site, "601");
            assert!(get(&site.phone).is_plain());
        });
    });
}

#[test]
fn case_27_another_boot_interrupts_before_a_socket_opens() {
    lab::run("release_window::case_27_another_boot_interrupts_before_a_socket_opens", |lab| {
        site(lab, "", |site| {
            let first = get(&site.phone);
            assert!(first.is_full());
            site.agent.kill();
            boot(lab);
            // The first thing that the new agent's ports answer.
            site.agent.begin(&[]);
            assert_eq!(site.agent.state(MAC), "locked");
            let after = get(&site.phone);
            assert!(!after.body.contains("canary"), "{after:?}");
            assert_eq!(site.agent.alarmed("interrupted")["mac"], MAC);
            assert_eq!(site.agent.audit("interrupted").len(), 1);
            site.agent.offhook(&["device", "rearm", MAC, "--on-contact"]);
            let armed =
                lab::poll("the new arming", || Some(get(&site.phone)).filter(super::release::Got::is_full));
            assert_ne!(armed.header("etag"), first.header("etag"), "another epoch");
        });
    });
}

#[test]
fn case_49_a_yealink_is_told_to_keep_what_it_has() {
    lab::run("release_window::case_49_a_yealink_is_told_to_keep_what_it_has", |lab| {
        let server = lab.host("agent", &format!("{SERVER}/24"));
        let accounts = "mac,vendor,model,username,password,web_password\n\
             80:5e:c0:aa:bb:cc,yealink,T46U,200,kSip-200-canary,kWeb-200-canary\n";
        let setup =
            Setup { accounts: accounts.to_owned(), config: "[sip]\nregistrar = \"pbx\"\n".to_owned() };
        let mut agent = Agent::start(lab, &server, &setup);
        let phone = lab.phone("phone", "80:5e:c0:aa:bb:cc", "lan", "192.168.1.100/24");
        let fetch = |file: &str| curl(&phone, &format!("http://{SERVER}:8480/805ec0aabbcc.{file}"), &[]);
        assert!(fetch("boot").body.contains("\noverwrite_mode = 0\n"));
        let first = fetch("cfg");
        assert!(first.body.contains("account.1.password = kSip-200-canary\n"), "{first:?}");
        agent.audited("acked");
        agent.end();
        agent.begin(&["unshare", "-T", "--boottime", "601"]);
        assert!(fetch("boot").body.contains("\noverwrite_mode = 0\n"));
        let after = fetch("cfg");
        assert_eq!((after.status, after.body.contains("account.1.user_name = 200\n")), (200, true));
        assert!(!after.body.contains("password =") && !after.body.contains("canary"), "{after:?}");
    });
}
