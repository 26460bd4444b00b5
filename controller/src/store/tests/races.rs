//! Several controllers on one database: whoever plans from what was loses, and nothing that anybody entered is lost.

use super::*;
use picket_model::Generation;
use std::collections::BTreeSet;

/// Controllers that plan, and how many plans each of them gets in.
const CONTROLLERS: u8 = 3;
const PLANS: u8 = 10;
/// Hosts that join meanwhile; every second one is revoked again.
const HOSTS: u8 = 20;

/// Plans until so many of its plans have become the target; those, and how often another one came first.
async fn plan_away(store: Store, controller: u8) -> (Vec<Generation>, u32) {
    let (mut committed, mut lost) = (Vec::new(), 0);
    while committed.len() < PLANS.into() {
        let (mut plan, target) = planned(&store).await;
        if plan.generation == target {
            // Nothing to plan: another policy, as an operator may write one at any time.
            plan = Plan { generation: target.next(), parent: target, ..plan };
            plan.basis.policy_version = u64::from(controller);
        }
        if commit(&store, &plan).await {
            committed.push(plan.generation);
        } else {
            lost += 1;
        }
        tokio::task::yield_now().await;
    }
    (committed, lost)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn controllers_that_plan_at_once_lose_no_host_and_repeat_no_generation() {
    on_both(async |store, own| {
        let hosts: Vec<Node> = (1..=HOSTS)
            .map(|n| node(&format!("host-{n}"), if n % 2 == 0 { NodeRole::Prep } else { NodeRole::Sentry }, n))
            .collect();
        let mut planners = Vec::new();
        for controller in 0..CONTROLLERS {
            planners.push(tokio::spawn(plan_away(own.open().await, controller)));
        }
        let (joins, revokes) = (own.open().await, own.open().await);
        let entered = hosts.clone();
        let joining = tokio::spawn(async move {
            for host in &entered {
                enter(&joins, std::slice::from_ref(host)).await;
            }
        });
        let leaving: Vec<NodeId> = hosts.iter().step_by(2).map(|host| host.id.clone()).collect();
        let gone = leaving.clone();
        let revoking = tokio::spawn(async move {
            for id in &gone {
                loop {
                    let mut tx = revokes.write().await.unwrap();
                    let is_there = tx.node(id).await.unwrap().is_some();
                    assert_eq!(tx.revoke_node(id, NOW).await.unwrap(), is_there);
                    tx.commit().await.unwrap();
                    if is_there {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            }
        });
        joining.await.unwrap();
        revoking.await.unwrap();
        let (mut all, mut lost) = (Vec::new(), 0);
        for planner in planners {
            let (committed, beaten) = planner.await.unwrap();
            assert!(committed.is_sorted_by(|a, b| a < b), "{committed:?}");
            all.extend(committed);
            lost += beaten;
        }
        // Each generation is one plan of one controller, without a gap.
        let numbers: BTreeSet<Generation> = all.iter().copied().collect();
        let expected: BTreeSet<Generation> = (1..=u64::from(CONTROLLERS * PLANS)).map(Generation).collect();
        assert_eq!((numbers, all.len()), (expected, usize::from(CONTROLLERS * PLANS)));
        println!("{lost} plans came second");

        // One more look by anybody, and the target is what was entered.
        let last = next_plan(&store).await;
        commit(&store, &last).await;
        let target = store.read().await.unwrap().target().await.unwrap().unwrap().plan;
        let planned: BTreeSet<NodeId> = target.nodes.keys().cloned().collect();
        let wanted: BTreeSet<NodeId> =
            hosts.into_iter().map(|host| host.id).filter(|id| !leaving.contains(id)).collect();
        assert_eq!(planned, wanted);
    })
    .await;
}
