//! An agent that is killed (-9) at every step of what it does: before and after each run of nft, and at ever later moments of
//! a change. A stranger knocks all the time and is never answered, and the next start brings what is wanted into force.

use crate::support::{GUARDED, UNGUARDED, both, dropped, open, serve_on, small_mesh};
use picket_lab::{
    Heard, Process, install_program,
    mesh::{Agent, SOON},
    wait_until,
};
use std::{net::SocketAddr, path::Path, time::Duration};

/// An nft in the place of the host's own that ends whoever runs it, at the run and in the moment that a file says. `kill`
/// is the shell's own; the agent gives its programs no `PATH`.
const NFT: &str = "#!/bin/sh
read -r at moment <FOLDER/plan
read -r run <FOLDER/run
run=$((run + 1))
echo $run >FOLDER/run
if [ \"$run $moment\" = \"$at before\" ]; then kill -9 $PPID; exit 1; fi
FOLDER/nft \"$@\"
status=$?
if [ \"$run $moment\" = \"$at after\" ]; then kill -9 $PPID; fi
exit $status
";
/// From one moment of a kill to the next.
const STEP: Duration = Duration::from_millis(20);

/// Starts the agent with that nft.
fn start_with_nft(agent: &Agent, at: usize, moment: &str) -> Process {
    agent.host.write("plan", &format!("{at} {moment}\n")).unwrap();
    agent.host.write("run", "0\n").unwrap();
    let script = format!(
        "mount --bind {} /usr/sbin/nft && exec {} run --state-dir {}",
        agent.host.path("nft-that-kills"),
        agent.program().path().unwrap().display(),
        agent.state_folder()
    );
    agent.host.start("killed", "unshare", &["--mount", "/bin/sh", "-c", &script], &[]).unwrap()
}

/// Not one knock was answered on a guarded port; on the other they were, in each family.
fn nothing_answered(heard: &Heard, guarded: [SocketAddr; 2], unguarded: [SocketAddr; 2]) {
    for port in guarded {
        assert!(heard.answered(port).is_empty(), "{port} answered {} knocks", heard.answered(port).len());
    }
    for port in unguarded {
        let answered = heard.answered(port).len();
        assert!(answered > 50, "{port} answered {answered} of {} knocks", heard.sent.len());
    }
}

fn wait_rules(agent: &Agent, wanted: &str) {
    wait_until("what is wanted to be in force", SOON, || match agent.rules_in_kernel() {
        Ok(rules) if rules == wanted => Ok(()),
        Ok(rules) => Err(rules),
        Err(error) => Err(error.to_string()),
    })
    .unwrap();
}

#[test]
fn an_agent_killed_before_or_after_any_run_of_nft_opens_nothing_and_comes_back() {
    let mut mesh = small_mesh("killed at nft");
    let _servers = serve_on(&mesh.preps[0]);
    let host = mesh.preps[0].host.clone();
    let [to, unguarded] = [GUARDED[0], UNGUARDED].map(|port| both(&mesh.preps[0], port));
    let wanted = mesh.preps[0].rules_in_kernel().unwrap();
    mesh.preps[0].kill();
    host.write("nft.sh", &NFT.replace("FOLDER", host.path("").trim_end_matches('/'))).unwrap();
    for (from, name) in [(host.path("nft.sh").as_str(), "nft-that-kills"), ("/usr/sbin/nft", "nft")] {
        install_program(Path::new(from), Path::new(&host.path(name))).unwrap();
    }
    let knocks = mesh.stranger.knock(&[to, unguarded].concat()).unwrap();
    let mut kills = 0;
    'runs: for run in 1.. {
        for moment in ["before", "after"] {
            // Whatever it finds, it has to write the whole table anew.
            host.nft(&["add", "rule", "inet", "picket", "gate_admin", "counter"]).unwrap();
            let killed = start_with_nft(&mesh.preps[0], run, moment);
            let ended = wait_until("the agent to end or to be done", SOON, || {
                (!killed.is_running() || killed.log().contains(": in force")).then(|| !killed.is_running())
            });
            let ended = ended.unwrap().value;
            killed.kill();
            if !ended {
                break 'runs;
            }
            kills += 1;
            assert!(mesh.preps[0].rules_in_kernel().is_ok(), "run {run}, {moment}: there is a table");
            open(&mesh.validators[0].host, to[0]);
            open(&mesh.admin, to[0]);
            // What the next boot would load, and what the next start brings.
            mesh.preps[0].command(&["lockdown"]).unwrap().success().unwrap();
            wait_rules(&mesh.preps[0], &wanted);
        }
    }
    // It looks, tries what the kernel can do, writes, and looks again.
    assert!(kills >= 8, "killed {kills} times");
    println!("killed {kills} times");
    mesh.preps[0].start().unwrap();
    mesh.wait_for_tunnels().unwrap();
    mesh.wait_in_force().unwrap();
    wait_rules(&mesh.preps[0], &wanted);
    nothing_answered(&knocks.end().unwrap(), to, unguarded);
}

/// The host as it was before a validator left the list: its ledger, and its rules.
struct Before {
    ledger: Vec<u8>,
    rules: String,
}

impl Before {
    fn restore(&self, agent: &Agent) {
        std::fs::write(format!("{}/ledger.json", agent.state_folder()), &self.ledger).unwrap();
        agent.host.load_nft(&format!("add table inet picket; delete table inet picket; {}", self.rules)).unwrap();
    }
}

#[test]
fn an_agent_killed_at_any_moment_of_a_change_opens_nothing_and_comes_back() {
    let mut mesh = small_mesh("killed in between");
    let _servers = serve_on(&mesh.preps[0]);
    let [to, unguarded] = [GUARDED[0], UNGUARDED].map(|port| both(&mesh.preps[0], port));
    let ledger = format!("{}/ledger.json", mesh.preps[0].state_folder());
    wait_confirmed(&ledger);
    let rules = mesh.preps[0].command(&["rules", "show"]).unwrap().success().unwrap();
    let before = Before { ledger: std::fs::read(&ledger).unwrap(), rules };
    let (first, gone) = (mesh.preps[0].rules_in_kernel().unwrap(), mesh.validators[0].host.clone());
    mesh.chain.remove(mesh.validators[0].prep).unwrap();
    wait_until("the validator to be out", SOON, || mesh.preps[0].rules_in_kernel().is_ok_and(|now| now != first))
        .unwrap();
    dropped(&gone, to[0]);
    mesh.wait_in_force().unwrap();
    wait_confirmed(&ledger);
    let wanted = mesh.preps[0].rules_in_kernel().unwrap();
    mesh.preps[0].kill();

    let knocks = mesh.stranger.knock(&[to, unguarded].concat()).unwrap();
    let (mut kills, mut done, mut after) = (0, 0, Duration::ZERO);
    // Until it has come to the end of the change, and is killed while it reports, a few times.
    while done < 3 {
        before.restore(&mesh.preps[0]);
        open(&gone, to[0]);
        mesh.preps[0].start().unwrap();
        let process = mesh.preps[0].process().unwrap().clone();
        // It does not end by itself: this is how long it lives.
        process.wait(after).unwrap_err();
        mesh.preps[0].kill();
        let rules = mesh.preps[0].rules_in_kernel().unwrap();
        open(&mesh.validators[1].host, to[0]);
        (kills, done, after) = (kills + 1, done + usize::from(rules == wanted), after + STEP);
        assert!(after < SOON, "the change never came into force");
    }
    println!("killed {kills} times, the last time after {after:?}");
    assert!(kills >= 5, "killed {kills} times");
    // From wherever it was: what is wanted now.
    before.restore(&mesh.preps[0]);
    mesh.preps[0].start().unwrap();
    mesh.wait_in_force().unwrap();
    wait_rules(&mesh.preps[0], &wanted);
    dropped(&gone, to[0]);
    mesh.wait_for_tunnels().unwrap();
    nothing_answered(&knocks.end().unwrap(), to, unguarded);
}

fn wait_confirmed(ledger: &str) {
    wait_until("nothing to be on trial", SOON, || {
        let held = std::fs::read_to_string(ledger).map_err(|error| error.to_string())?;
        if held.contains("\"trial\"") { Err(held) } else { Ok(()) }
    })
    .unwrap();
}
