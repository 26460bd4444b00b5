# Instances that come and go wait for the controller's word: lifecycle hooks, and the rule by which EventBridge tells it.
#
# The hooks are set after the group is made, so its first instances may come up without one. That does no harm: a hook admits
# nobody, and those instances join by their proofs as all do.

locals {
  tags = merge(var.tags, { "picket:mesh" = var.name })
}

resource "aws_autoscaling_lifecycle_hook" "launch" {
  for_each = var.launch_hook ? var.group_names : {}

  name                   = "picket-up"
  autoscaling_group_name = each.value
  lifecycle_transition   = "autoscaling:EC2_INSTANCE_LAUNCHING"
  heartbeat_timeout      = var.launch_seconds
  # Nobody vouched for it, so it does not serve.
  default_result = "ABANDON"
}

resource "aws_autoscaling_lifecycle_hook" "terminate" {
  for_each = var.group_names

  name                   = "picket-down"
  autoscaling_group_name = each.value
  lifecycle_transition   = "autoscaling:EC2_INSTANCE_TERMINATING"
  heartbeat_timeout      = var.terminate_seconds
  # It goes in any case; the controller's leases find it if the hook did not.
  default_result = "CONTINUE"
}

resource "aws_cloudwatch_event_rule" "this" {
  name        = "${var.name}-lifecycle"
  description = "Instances of Picket sentries that come and go"
  tags        = local.tags

  event_pattern = jsonencode({
    source = ["aws.autoscaling", "aws.ec2"]
    "$or" = [
      {
        "detail-type" = ["EC2 Instance-launch Lifecycle Action", "EC2 Instance-terminate Lifecycle Action"]
        detail        = { AutoScalingGroupName = values(var.group_names) }
      },
      # It names no group; the controller looks whether the instance is a member.
      { "detail-type" = ["EC2 Spot Instance Interruption Warning"] },
    ]
  })
}

resource "aws_cloudwatch_event_connection" "this" {
  name               = "${var.name}-lifecycle"
  description        = "Picket controller"
  authorization_type = "API_KEY"

  auth_parameters {
    api_key {
      key   = "x-picket-hook-secret"
      value = var.hook_secret
    }
  }
}

resource "aws_cloudwatch_event_api_destination" "this" {
  name                             = "${var.name}-lifecycle"
  description                      = "Hook API of the Picket controller"
  invocation_endpoint              = var.hook_url
  http_method                      = "POST"
  invocation_rate_limit_per_second = 50
  connection_arn                   = aws_cloudwatch_event_connection.this.arn
}

resource "aws_cloudwatch_event_target" "this" {
  rule      = aws_cloudwatch_event_rule.this.name
  target_id = "picket"
  arn       = aws_cloudwatch_event_api_destination.this.arn
  role_arn  = aws_iam_role.this.arn

  retry_policy {
    # What is older the controller does not take (`hooks.oldest_seconds`).
    maximum_event_age_in_seconds = 3600
    maximum_retry_attempts       = 185
  }

  dead_letter_config {
    arn = aws_sqs_queue.undelivered.arn
  }
}
