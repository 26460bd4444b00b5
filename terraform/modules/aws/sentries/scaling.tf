# When there are more, and what somebody must be told of. Sentries have no right to write metrics: AWS measures them from outside,
# and the controller tells what they report to it.

resource "aws_autoscaling_policy" "cpu" {
  count = var.scaling.cpu_percent == null ? 0 : 1

  name                   = "${local.prefix}-cpu"
  autoscaling_group_name = aws_autoscaling_group.this.name
  policy_type            = "TargetTrackingScaling"

  target_tracking_configuration {
    target_value = var.scaling.cpu_percent

    predefined_metric_specification {
      predefined_metric_type = "ASGAverageCPUUtilization"
    }
  }
}

resource "aws_autoscaling_policy" "network" {
  count = var.scaling.network_out_bytes == null ? 0 : 1

  name                   = "${local.prefix}-network"
  autoscaling_group_name = aws_autoscaling_group.this.name
  policy_type            = "TargetTrackingScaling"

  target_tracking_configuration {
    target_value = var.scaling.network_out_bytes

    predefined_metric_specification {
      predefined_metric_type = "ASGAverageNetworkOut"
    }
  }
}

resource "aws_autoscaling_policy" "reported" {
  for_each = { for name, value in {
    TrackedConnectionsPercent = var.scaling.tracked_percent
    StoppedPacketsPerSecond   = var.scaling.stopped_packets
  } : name => value if value != null }

  name                   = "${local.prefix}-${each.key}"
  autoscaling_group_name = aws_autoscaling_group.this.name
  policy_type            = "TargetTrackingScaling"

  target_tracking_configuration {
    target_value = each.value

    customized_metric_specification {
      namespace   = "Picket"
      metric_name = each.key
      statistic   = "Average"

      metric_dimension {
        name  = "mesh"
        value = var.name
      }

      metric_dimension {
        name  = "pool"
        value = var.pool
      }
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "unhealthy" {
  for_each = aws_lb_target_group.this

  alarm_name          = "${local.prefix}-${each.key}-unhealthy"
  alarm_description   = "Sentries are not ready: `picket nodes` and `picket events`, and the instance's console log"
  namespace           = "AWS/NetworkELB"
  metric_name         = "UnHealthyHostCount"
  dimensions          = { LoadBalancer = aws_lb.this.arn_suffix, TargetGroup = each.value.arn_suffix }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 5
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
  tags                = local.tags
}

resource "aws_cloudwatch_metric_alarm" "few" {
  alarm_name          = "${local.prefix}-few"
  alarm_description   = "Fewer sentries in service than there must be: a validator may have none"
  namespace           = "AWS/AutoScaling"
  metric_name         = "GroupInServiceInstances"
  dimensions          = { AutoScalingGroupName = aws_autoscaling_group.this.name }
  statistic           = "Minimum"
  period              = 60
  evaluation_periods  = 5
  comparison_operator = "LessThanThreshold"
  threshold           = var.sizes.min
  treat_missing_data  = "breaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
  tags                = local.tags
}
