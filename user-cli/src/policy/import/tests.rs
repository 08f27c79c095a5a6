//! Samples of other programs' rules, in their formats.

use super::*;
use crate::filter::describe;

/// The filters of the policy as `layer action name: conditions`, and what was left out as `rule: why`.
fn imported(from: From, bytes: &[u8]) -> (Vec<String>, Vec<String>) {
    let import = import(from, bytes, "imported", Wider::default()).unwrap();
    let source = Source::new("", import.document.to_string());
    let policy = crate::policy::read(&source).unwrap_or_else(|problems| panic!("{}", source.failure(&problems)));
    let filters = policy.filters.iter().map(|wanted| {
        let filter = &wanted.filter;
        let conditions = describe::conditions(&filter.conditions).join("; ");
        let (layer, action) = (describe::layer(&filter.layer), describe::action(&filter.action));
        format!("{layer} {action} {}: {conditions}", filter.display.name)
    });
    (filters.collect(), import.notes.iter().map(|note| format!("{}: {}", note.rule, note.what)).collect())
}

const REG: &str = r#"Windows Registry Editor Version 5.00

[HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\SharedAccess\Parameters\FirewallPolicy\FirewallRules]
"web"="v2.30|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=80|LPort2_10=8000-8080|RA4=192.168.7.1/255.255.0.0|RA4=10.0.0.1-10.0.0.9|App=%SystemRoot%\\system32\\inetsrv\\w3wp.exe|Name=Web|Desc=Our web|EmbedCtxt=Group|Edge=FALSE|"
"ping"="v2.30|Action=Block|Active=TRUE|Dir=In|Protocol=1|ICMP4=8:*|ICMP4=13:0|Name=No ping|"
"svc"="v2.30|Action=Allow|Active=TRUE|Dir=Out|Protocol=17|RPort=53|App=%SystemRoot%\\system32\\svchost.exe|Svc=dnscache|Name=DNS|"
"off"="v2.30|Action=Allow|Active=FALSE|Dir=In|Name=Off|"
"sub"="v2.30|Action=Allow|Active=TRUE|Dir=In|Protocol=6|RA4=LocalSubnet|Name=Subnet|"
"rpc"="v2.30|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=RPC|Name=RPC|"
"home"="v2.30|Action=Allow|Active=TRUE|Dir=In|Profile=Private|Name=Home|"
"all"="v2.30|Action=Block|Active=TRUE|Dir=Out|Protocol=6|RPort=25|Profile=Domain|Profile=Private|Profile=Public|Name=Web|"
"sec"="v2.30|Action=Allow|Active=TRUE|Dir=In|Security=Authenticate|Name=Sec|"
"#;

#[test]
fn registry_strings_become_rules_or_are_listed() {
    let utf16: Vec<u8> = [0xfeff].into_iter().chain(REG.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let dns = r"svchost.exe; ALE_USER_ID = S-1-5-80-859482183-879914841-863379149-1145462774-2388618682";
    let (filters, notes) = imported(From::FirewallRegistry, &utf16);
    assert_eq!(
        filters,
        [
            "ALE_AUTH_RECV_ACCEPT_V4 permit Web: IP_PROTOCOL = tcp; IP_REMOTE_ADDRESS = 192.168.0.0/16 or 10.0.0.1-10.0.0.9; \
             IP_LOCAL_PORT = 80 or 8000-8080; ALE_APP_ID = \\device\\harddiskvolume3\\windows\\system32\\inetsrv\\w3wp.exe",
            "ALE_AUTH_RECV_ACCEPT_V4 block No ping: IP_PROTOCOL = icmp; IP_LOCAL_PORT = 8",
            "ALE_AUTH_RECV_ACCEPT_V4 block No ping (2): IP_PROTOCOL = icmp; IP_LOCAL_PORT = 13; IP_REMOTE_PORT = 0",
            &format!(
                "ALE_AUTH_CONNECT_V4 permit DNS: IP_PROTOCOL = udp; IP_REMOTE_PORT = 53; ALE_APP_ID = \\device\\harddiskvolume3\\windows\\system32\\{dns}"
            ),
            &format!(
                "ALE_AUTH_CONNECT_V6 permit DNS: IP_PROTOCOL = udp; IP_REMOTE_PORT = 53; ALE_APP_ID = \\device\\harddiskvolume3\\windows\\system32\\{dns}"
            ),
            "ALE_AUTH_CONNECT_V4 block Web (2): IP_PROTOCOL = tcp; IP_REMOTE_PORT = 25",
            "ALE_AUTH_CONNECT_V6 block Web (2): IP_PROTOCOL = tcp; IP_REMOTE_PORT = 25",
        ]
    );
    assert_eq!(
        notes,
        [
            "Off: it is not active: --inactive imports it all the same",
            "Subnet: 'LocalSubnet' is no IPv4 or IPv6 address",
            "RPC: 'RPC' is no port: it is a number from 0 to 65535",
            "Home: it is for the profile Private only, which a policy does not know: --any-profile imports it for all",
            "Sec: a policy has no words for Security=Authenticate",
        ]
    );
    // The same without the file around it.
    let plain = "v2.10|Action=Block|Dir=Out|Protocol=6|RPort=25|Name=Mail|\n";
    assert_eq!(imported(From::FirewallRegistry, plain.as_bytes()).0.len(), 2);
    let query = format!("HKEY_LOCAL_MACHINE\\x\n    mail    REG_SZ    {plain}");
    assert_eq!(imported(From::FirewallRegistry, query.as_bytes()).0.len(), 2);
    assert!(import(From::FirewallRegistry, b"nothing", "x", Wider::default()).is_err());
}

#[test]
fn a_services_sid_is_the_one_that_sc_shows() {
    assert_eq!(service_sid("TrustedInstaller"), "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464");
}

#[test]
fn json_and_csv_of_powershell_become_rules() {
    let json = r#"[
      {"Name": "{1}", "DisplayName": "Web", "Enabled": 1, "Direction": 1, "Action": 2, "Profile": 0,
       "PortFilter": {"Protocol": "TCP", "LocalPort": {"value": ["80", "443"], "Count": 2}, "RemotePort": "Any", "IcmpType": "Any"},
       "AddressFilter": {"LocalAddress": "Any", "RemoteAddress": ["10.0.0.0/255.0.0.0", "fe80::/64"]},
       "ApplicationFilter": {"Program": "Any", "Package": null}},
      {"DisplayName": "Home", "Enabled": "True", "Direction": "Outbound", "Action": "Block", "Profile": 6, "Protocol": "UDP",
       "LocalPort": "Any", "RemotePort": "Any", "LocalAddress": "Any", "RemoteAddress": "Any", "Program": "Any"}
    ]"#;
    let (filters, notes) = imported(From::NetFirewallRule, json.as_bytes());
    assert_eq!(
        filters,
        [
            "ALE_AUTH_RECV_ACCEPT_V4 permit Web: IP_PROTOCOL = tcp; IP_REMOTE_ADDRESS = 10.0.0.0/8; IP_LOCAL_PORT = 80 or 443",
            "ALE_AUTH_RECV_ACCEPT_V6 permit Web: IP_PROTOCOL = tcp; IP_REMOTE_ADDRESS = fe80::/64; IP_LOCAL_PORT = 80 or 443",
        ]
    );
    assert!(notes[0].starts_with("Home: it is for the profile Private, Public only"), "{notes:?}");

    let csv = "#TYPE System.Object\n\"DisplayName\",\"Enabled\",\"Direction\",\"Action\",\"Profile\",\"Protocol\",\"LocalPort\",\
               \"RemotePort\",\"LocalAddress\",\"RemoteAddress\",\"Program\"\n\"Mail, out\",\"True\",\"Outbound\",\"Block\",\"Any\",\
               \"TCP\",\"Any\",\"25,465\",\"Any\",\"192.0.2.1\",\"C:\\m.exe\"\n";
    assert_eq!(
        imported(From::NetFirewallRule, csv.as_bytes()).0,
        [
            "ALE_AUTH_CONNECT_V4 block Mail, out: IP_PROTOCOL = tcp; IP_REMOTE_ADDRESS = 192.0.2.1; IP_REMOTE_PORT = 25 or 465; \
          ALE_APP_ID = \\device\\harddiskvolume3\\m.exe"
        ]
    );
    let bare = r#"[{"DisplayName": "x", "Enabled": 1, "Direction": 1, "Action": 2}]"#;
    let refused = import(From::NetFirewallRule, bare.as_bytes(), "x", Wider::default()).unwrap_err();
    assert!(refused.message.contains("no property protocol") && refused.help.unwrap().contains("ConvertTo-Json"));
}

#[test]
fn simplewalls_profile_becomes_rules() {
    let xml = r#"<?xml version="1.0"?>
<root type="3" version="5">
  <apps>
    <item path="C:\Tools\curl.exe" is_enabled="true" />
    <item path="C:\Tools\off.exe" />
  </apps>
  <rules_custom>
    <item name="Web &amp; more" rule="80;443;192.0.2.0/24" dir="0" protocol="6" apps="C:\b.exe|dnscache" is_enabled="true" />
    <item name="In" rule_local="3389" dir="1" protocol="6" is_block="true" is_enabled="1" />
    <item name="Host" rule="example.org" is_enabled="true" />
  </rules_custom>
</root>"#;
    let (filters, notes) = imported(From::Simplewall, xml.as_bytes());
    assert_eq!(filters.iter().filter(|filter| filter.contains("curl.exe")).count(), 4, "{filters:#?}");
    let b = r"ALE_APP_ID = \device\harddiskvolume3\b.exe";
    for expected in [
        &format!("ALE_AUTH_CONNECT_V4 permit Web & more: IP_PROTOCOL = tcp; IP_REMOTE_ADDRESS = 192.0.2.0/24; {b}"),
        &format!("ALE_AUTH_CONNECT_V6 permit Web & more (2): IP_PROTOCOL = tcp; IP_REMOTE_PORT = 80 or 443; {b}"),
        "ALE_AUTH_RECV_ACCEPT_V4 block In: IP_PROTOCOL = tcp; IP_LOCAL_PORT = 3389",
    ] {
        assert!(filters.iter().any(|filter| filter == expected), "{expected}: {filters:#?}");
    }
    assert_eq!(
        notes,
        [
            r"C:\Tools\off.exe: it is not active: --inactive imports it all the same",
            "Host: 'example.org' is no IPv4 or IPv6 address"
        ]
    );
    let all = Wider { inactive: true, ..Wider::default() };
    assert_eq!(import(From::Simplewall, xml.as_bytes(), "x", all).unwrap().notes.len(), 1);
    let broken = import(From::Simplewall, b"<root>\n<item name=\"x></root>", "x", Wider::default()).unwrap_err();
    assert!(broken.message.starts_with("line 2: "), "{broken}");
}
