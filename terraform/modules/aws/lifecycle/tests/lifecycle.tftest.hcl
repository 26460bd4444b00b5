# What holds of the hooks, whatever the inputs. No cloud is asked.

mock_provider "aws" {
  source = "../common/mocks"
}

variables {
  name        = "mesh-eu"
  group_names = { edge = "mesh-edge", far = "mesh-far" }
  hook_url    = "https://hooks.example.org/v1/hooks/aws"
  hook_secret = "0123456789abcdef0123456789abcdef"
}

run "by_default" {
  assert {
    condition     = length(aws_autoscaling_lifecycle_hook.launch) == 2 && alltrue([for hook in aws_autoscaling_lifecycle_hook.launch : hook.default_result == "ABANDON" && hook.heartbeat_timeout == 300 && hook.lifecycle_transition == "autoscaling:EC2_INSTANCE_LAUNCHING"])
    error_message = "an instance that nobody vouched for would serve"
  }
  assert {
    condition     = length(aws_autoscaling_lifecycle_hook.terminate) == 2 && alltrue([for hook in aws_autoscaling_lifecycle_hook.terminate : hook.default_result == "CONTINUE" && hook.heartbeat_timeout == 300 && hook.lifecycle_transition == "autoscaling:EC2_INSTANCE_TERMINATING"])
    error_message = "an instance could not go"
  }
  # Above the controller's heartbeat_seconds and cut_seconds.
  assert {
    condition     = alltrue([for hook in aws_autoscaling_lifecycle_hook.launch : hook.heartbeat_timeout > 60]) && alltrue([for hook in aws_autoscaling_lifecycle_hook.terminate : hook.heartbeat_timeout > 20])
    error_message = "AWS goes on before the controller says so"
  }
  assert {
    condition     = length(setsubtract(["EC2 Instance-launch Lifecycle Action", "EC2 Instance-terminate Lifecycle Action", "EC2 Spot Instance Interruption Warning"], flatten([for way in jsondecode(aws_cloudwatch_event_rule.this.event_pattern)["$or"] : way["detail-type"]]))) == 0
    error_message = "the rule passes over an event that the controller knows"
  }
  assert {
    condition     = aws_cloudwatch_event_connection.this.auth_parameters[0].api_key[0].key == "x-picket-hook-secret" && aws_cloudwatch_event_api_destination.this.http_method == "POST"
    error_message = "the controller would not know who calls"
  }
  assert {
    condition     = aws_cloudwatch_event_target.this.retry_policy[0].maximum_event_age_in_seconds <= 3600
    error_message = "messages come that the controller does not take"
  }
  assert {
    condition     = aws_sqs_queue.undelivered.sqs_managed_sse_enabled && aws_cloudwatch_event_target.this.dead_letter_config[0].arn == aws_sqs_queue.undelivered.arn
    error_message = "what is not delivered is lost, or lies in the clear"
  }
  assert {
    condition     = data.aws_iam_policy_document.deliver.statement[0].actions == toset(["events:InvokeApiDestination"]) && data.aws_iam_policy_document.deliver.statement[0].resources == toset([aws_cloudwatch_event_api_destination.this.arn])
    error_message = "the role may do more than deliver"
  }
}

run "groups_whose_launches_nobody_awaits" {
  variables {
    launch_hook = false
  }
  assert {
    condition     = length(aws_autoscaling_lifecycle_hook.launch) == 0 && length(aws_autoscaling_lifecycle_hook.terminate) == 2
    error_message = "instances that come up wait, or nobody hears of those that go"
  }
}

run "bad_input_is_refused" {
  command = plan
  variables {
    name              = "Mesh_1"
    group_names       = {}
    hook_url          = "http://hooks.example.org/v1/hooks/aws"
    hook_secret       = "short"
    launch_seconds    = 30
    terminate_seconds = 30
  }
  expect_failures = [var.name, var.group_names, var.hook_url, var.hook_secret, var.launch_seconds, var.terminate_seconds]
}
