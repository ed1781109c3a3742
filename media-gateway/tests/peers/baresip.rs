//! baresip as a calling phone, through Kamailio: a sine tone in Opus, in the clear and with SRTP.

use tokio::process::Command;

use super::kamailio::{Challenge, Kamailio};
use super::lab::{DEVICE, DOMAIN, Lab};
use super::process::{Process, free_address};

/// Of the tone.
const FREQUENCY: f64 = 440.0;

/// How much of the tone must have arrived before baresip hangs up, in seconds.
const ENOUGH: f64 = 2.0;

/// Calls the gateway with baresip's media encryption of this name, hangs up after a while, and checks what was heard.
async fn is_heard(encryption: &str) {
    let mut kamailio = Kamailio::start(Challenge::default()).await;
    let mut lab = Lab::start("udp", &[kamailio.proxy("udp")], None).await;
    lab.expects_invite().await;

    let directory = tempfile::tempdir().unwrap();
    let sip = free_address();
    let config = format!(
        "poll_method epoll\nsip_listen {sip}\nnet_interface 127.0.0.1\n\
         audio_source ausine,{FREQUENCY}\naudio_player aubridge,unheard\naudio_alert aubridge,unheard\n\
         module_path /usr/lib/baresip/modules\n\
         module opus.so\nmodule ausine.so\nmodule aubridge.so\nmodule srtp.so\n\
         module_app account.so\nmodule_app menu.so\nopus_inbandfec yes\n"
    );
    let account = format!(
        "<sip:phone@{sip}>;regint=0;audio_codecs=opus/48000/2;outbound=\"sip:{};transport=udp\"{encryption}\n",
        kamailio.plain
    );
    for (name, content) in [("config", config), ("accounts", account), ("contacts", String::new())]
    {
        std::fs::write(directory.path().join(name), content).unwrap();
    }
    let mut command = Command::new("baresip");
    command.args(["-4", "-f"]).arg(directory.path());
    command.args(["-e", &format!("/dial sip:{DEVICE}@{DOMAIN}")]);
    let mut baresip = Process::start("baresip", &mut command);

    lab.hears(ENOUGH).await;
    // It hangs up before it ends.
    baresip.terminate().await;
    let heard = lab.call_over().await;
    assert!(heard.loud_seconds() > ENOUGH - 0.3, "{} s", heard.loud_seconds());
    assert!(heard.share(FREQUENCY) > 0.9, "{}", heard.share(FREQUENCY));
    assert_eq!(heard.sample_rate, 16_000);
    lab.stop().await;
    kamailio.process.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs baresip and Kamailio: make test-peers"]
async fn in_opus() {
    is_heard("").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs baresip and Kamailio: make test-peers"]
async fn in_opus_with_srtp() {
    is_heard(";mediaenc=srtp-mand").await;
}
