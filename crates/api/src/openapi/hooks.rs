//! What clouds tell, on the hooks' listener. The messages are the clouds' own.

use super::{Operation, Who, of};
use crate::{ProblemKind as P, hooks::HookAnswer};
use serde_json::{Map, Value};

/// EventBridge and SNS.
pub static AWS: Operation = Operation::post(
    "hookAws",
    "/v1/hooks/aws",
    Who::Proven,
    "A lifecycle event of EventBridge, with the header `x-picket-hook-secret`, or a message of SNS, which is signed",
)
.body(of::<Map<String, Value>>)
.answers(of::<HookAnswer>)
.fails(&[P::Unauthorized, P::Forbidden, P::NotFound]);

/// Pub/Sub.
pub static GCP: Operation = Operation::post(
    "hookGcp",
    "/v1/hooks/gcp",
    Who::Proven,
    "A message that Pub/Sub pushes, with Google's token as bearer",
)
.body(of::<Map<String, Value>>)
.answers(of::<HookAnswer>)
.fails(&[P::Unauthorized, P::Forbidden, P::NotFound]);

/// Everybody else.
pub static GENERIC: Operation = Operation::post(
    "hookGeneric",
    "/v1/hooks/generic",
    Who::Proven,
    "A message signed as Standard Webhooks has it: `webhook-id`, `webhook-timestamp`, `webhook-signature`",
)
.body(of::<Map<String, Value>>)
.answers(of::<HookAnswer>)
.fails(&[P::Unauthorized, P::Forbidden, P::NotFound]);

/// All of them.
pub static ALL: &[&Operation] = &[&AWS, &GCP, &GENERIC];
