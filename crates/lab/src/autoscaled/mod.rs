//! The autoscaled sentry layer as a whole: the group that Terraform made in a cloud that is played (moto), its instances as booted
//! machines that run the user data Terraform wrote, the controller with the rules Terraform wrote. They come, serve, die and go.
//! What moto does not do is played here: instances that wait for hooks, metadata, and the balancer's look at `/ready`.

mod balancer;
mod cloud;
mod instance;
mod layer;

use crate::{
    LabError, clean_left_overs,
    demo::report::{Report, Seen},
    mesh::SOON,
    stop, wait_until,
};
use cloud::Cloud;
use layer::Layer;
use std::{path::PathBuf, time::Duration};

/// How long a story that is told to stop may take to its end.
const IN_ORDER: Duration = Duration::from_secs(5);

/// Where the cloud is.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Python with boto3, which finds moto by its environment
    #[arg(long)]
    python: PathBuf,
    /// `terraform/tests/cloud.py`
    #[arg(long)]
    script: PathBuf,
}

/// Tells the story; whether every check held.
///
/// # Errors
/// What keeps it from going on at all. All namespaces and files are gone then, too.
pub fn run(args: &Args) -> anyhow::Result<bool> {
    let _stop = stop::on_signal(IN_ORDER)?;
    clean_left_overs()?;
    let mut report = Report::new(false);
    let mut layer = Layer::start(Cloud::new(&args.python, &args.script))?;
    tell(&mut layer, &mut report);
    report.table();
    if !report.all_held() {
        layer.print_logs();
    }
    Ok(report.all_held())
}

fn tell(layer: &mut Layer, report: &mut Report) {
    report.check("the group's instances run their user data, join by their documents, and come into service", || {
        let ids = layer.cloud.instances()?;
        must(ids.len() == 2, || format!("the group begins with {ids:?}"))?;
        comes_up(layer, &ids)
    });
    report.check("the group grows by one, which joins by itself", || {
        let before = layer.cloud.instances()?;
        let new: Vec<String> = layer.cloud.scale(3)?.into_iter().filter(|id| !before.contains(id)).collect();
        must(new.len() == 1, || format!("new are {new:?}"))?;
        comes_up(layer, &new)
    });
    report.check("validators reach P2P at each of them, strangers nothing, by packets", || layer.let_in_and_out());
    report.check("what the group scales by is told of its pool", || {
        // A host counts what it stops twice before it can say how much that is in a second.
        let said = wait_until("the pool's figures", SOON * 4, || {
            let said = layer.scaled_by().map_err(|error| error.to_string())?;
            if said.contains("edge StoppedPacketsPerSecond ") { Ok(said) } else { Err(said) }
        })?;
        Ok(Seen::that(said.value.trim().replace('\n', ", ")))
    });
    report.check("an instance from another image is not let in, and the cloud throws it away", || {
        let id = "i-0ddba11c0de000000".to_owned();
        layer.launch(&id)?;
        layer.boot_from("ami-0fedcba9876543210", std::slice::from_ref(&id))?;
        let why = wait_until("it to be refused", SOON * 3, || {
            layer.refused()?.ok_or_else(|| LabError::Unexpected { found: "nobody was".to_owned() })
        })?;
        must(layer.state(&id) == "Pending:Wait", || format!("it is {}", layer.state(&id)))?;
        must(layer.members()? == 3, || "it is a member".to_owned())?;
        layer.wait_health(&id, false)?;
        layer.launching_is_over();
        must(layer.state(&id) == "Terminated", || format!("it is {}", layer.state(&id)))?;
        layer.cut_power(&id)?;
        Ok(Seen::that(why.value))
    });
    report.check("one loses its power: the balancer finds it out, the group puts another in its place", || {
        let lost = layer.any()?;
        layer.cut_power(&lost)?;
        let found = layer.wait_health(&lost, false)?;
        let before = layer.cloud.instances()?;
        let new: Vec<String> = layer.cloud.replace(&lost)?.into_iter().filter(|id| !before.contains(id)).collect();
        must(new.len() == 1, || format!("in its place are {new:?}"))?;
        layer.goes(&lost)?;
        let came = comes_up(layer, &new)?;
        Ok(Seen::after(found.took, format!("until the balancer knew; another one: {}", came.detail)))
    });
    report.check("the group shrinks: who goes is cut everywhere before the cloud lets it go", || {
        let before = layer.cloud.instances()?;
        let left = layer.cloud.scale(2)?;
        let [gone] = &before.into_iter().filter(|id| !left.contains(id)).collect::<Vec<_>>()[..] else {
            return Err(LabError::Unexpected { found: format!("of the group are left {left:?}") });
        };
        let took = layer.goes(gone)?;
        let after = layer.wait_health(gone, false)?;
        layer.closed(gone)?;
        layer.cut_power(gone)?;
        let detail = format!(
            "from the event to the cloud's word; not ready {} ms later; its ports are closed",
            after.took.as_millis()
        );
        Ok(Seen::after(took, detail))
    });
    report.check("those that stay were not touched by it", || {
        layer.let_in_and_out()?;
        let members = layer.members()?;
        must(members == 2, || format!("{members} sentries are members"))?;
        Ok(Seen::that("two sentries, in force, reached by who may and by nobody else"))
    });
}

/// Has instances come up: their hooks are told of, they boot, join, and are let into service; the balancer finds them ready.
fn comes_up(layer: &mut Layer, ids: &[String]) -> Result<Seen, LabError> {
    let started = std::time::Instant::now();
    for id in ids {
        layer.launch(id)?;
        must(layer.state(id) == "Pending:Wait", || format!("{id} does not wait for its hook"))?;
    }
    layer.boot(ids)?;
    for id in ids {
        wait_until(&format!("{id} to be let into service"), SOON * 3, || match layer.state(id) {
            "InService" => Ok(()),
            other => Err(other.to_owned()),
        })?;
        layer.wait_health(id, true)?;
    }
    Ok(Seen::after(started.elapsed(), format!("{} of them, from the event to a green balancer", ids.len())))
}

fn must(holds: bool, found: impl FnOnce() -> String) -> Result<(), LabError> {
    if holds { Ok(()) } else { Err(LabError::Unexpected { found: found() }) }
}
