//! What hosts of every kind show, so that it says nothing of who they are: no pattern may match it.

use crate::device::Source;

/// Names of web servers that anybody builds into anything.
const SERVERS: &[&str] = &[
    "lighttpd",
    "lighttpd/1.4.35",
    "nginx",
    "nginx/1.18.0 (Ubuntu)",
    "Apache",
    "Apache/2.4.41 (Ubuntu)",
    "Apache/2.2.15 (CentOS)",
    "Microsoft-IIS/10.0",
    "Microsoft-HTTPAPI/2.0",
    "GoAhead-Webs",
    "GoAhead-http",
    "Mbedthis-Appweb/2.4.2",
    "Embedthis-http",
    "Boa/0.94.14rc21",
    "mini_httpd/1.19 19dec2003",
    "micro_httpd",
    "thttpd/2.25b 29dec2003",
    "uhttpd",
    "httpd",
    "HTTPD",
    "HTTP Server",
    "WebServer",
    "Web Server",
    "Webs",
    "RomPager/4.07 UPnP/1.0",
    "Allegro-Software-RomPager/4.34",
    "Virata-EmWeb/R6_2_1",
    "Monkey/1.2.0",
    "Hiawatha v8.6",
    "Cherokee",
    "cherokee/1.0",
    "Caddy",
    "gSOAP/2.7",
    "Jetty(9.4.z-SNAPSHOT)",
    "Apache-Coyote/1.1",
    "Werkzeug/2.0.1 Python/3.8",
    "SimpleHTTP/0.6 Python/3.8",
    "BaseHTTP/0.3 Python/2.7",
    "Linux/2.6 UPnP/1.0 miniupnpd/1.5",
    "Mongoose/6.0",
    "debut/1.20",
    "KS_HTTP/1.0",
    "CANON HTTP Server",
    "HP HTTP Server; HP LaserJet",
    "cisco-IOS",
    "Unknown",
    "none",
];
/// Titles that say what every device has.
const TITLES: &[&str] = &[
    "Login",
    "login",
    "Log In",
    "Sign in",
    "Home",
    "Index",
    "index",
    "Index of /",
    "Welcome",
    "Status",
    "Main",
    "Main Page",
    "Configuration",
    "Web Configuration",
    "Web Interface",
    "Web Management",
    "Web User Interface",
    "WEB SERVICE",
    "Device",
    "Router",
    "Untitled Document",
    "Document",
    "Redirect",
    "Please wait",
    "301 Moved Permanently",
    "302 Found",
    "401 Unauthorized",
    "401 - Unauthorized",
    "403 Forbidden",
    "404 Not Found",
    "Document Error: Unauthorized",
    "Error 401: Unauthorized",
    "Welcome to nginx!",
    "Apache2 Ubuntu Default Page: It works",
    "IIS Windows Server",
];
/// What anybody asks a password for.
const REALMS: &[&str] = &[
    "Login",
    "login",
    "admin",
    "Admin",
    "Administrator",
    "Authorization",
    "Authentication",
    "Restricted area",
    "Restricted",
    "Protected",
    "Protected Area",
    "Secure Area",
    "Private",
    "Configuration",
    "Please enter your user name and password",
    "Please login",
    "Password required",
    "Web Server",
    "Web Login",
    "WebAdmin",
    "GoAhead",
    "localhost",
    "device",
    "Device",
    "Router",
    "user",
    "/",
    ".",
    "index.html",
    "192.168.1.1",
];
/// What SIP servers and programs say.
const SIP_AGENTS: &[&str] = &[
    "Asterisk PBX 18.10.0",
    "FPBX-16.0.40(18.16.0)",
    "FreeSWITCH-mod_sofia/1.10.9-release",
    "kamailio (5.5.4 (x86_64/linux))",
    "OpenSIPS (3.2.5 (x86_64/linux))",
    "friendly-scanner",
    "Linphone/3.6.1 (eXosip2/4.1.0)",
    "SIP",
    "UA",
];
/// Pages of which some host answers every question with one.
const BODIES: &[&str] = &[
    "OK",
    "{}",
    "<html></html>",
    "<html><head><title>404 Not Found</title></head><body><h1>404 Not Found</h1></body></html>",
    "<html><head><title>Login</title></head><body><form action=\"/login\" method=\"post\"><input name=\"username\"><input \
     type=\"password\" name=\"password\"></form></body></html>",
    "<html><head><meta http-equiv=\"refresh\" content=\"0; url=/index.html\"></head></html>",
    "{\"error\":\"not found\"}",
];

/// Texts at a source that no pattern for it may match.
pub(super) fn common(source: Source) -> &'static [&'static str] {
    match source {
        Source::HttpServer => SERVERS,
        Source::HttpTitle => TITLES,
        Source::HttpRealm => REALMS,
        Source::HttpPage => BODIES,
        Source::SipUserAgent => SIP_AGENTS,
        Source::SipEvent
        | Source::SipUri
        | Source::HttpUserAgent
        | Source::HttpPath
        | Source::TftpPath
        | Source::TlsSubject
        | Source::MdnsHost
        | Source::MdnsService
        | Source::DhcpVendorClass
        | Source::Oui => &[],
    }
}
