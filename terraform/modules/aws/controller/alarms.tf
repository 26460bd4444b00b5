# What somebody must be told of. `picket status` says what it is.

resource "aws_cloudwatch_metric_alarm" "alarms" {
  alarm_name          = "${var.name}-controller-alarms"
  alarm_description   = "The controller has alarms in force, or is not heard: picket status"
  namespace           = "Picket"
  metric_name         = "Alarms"
  dimensions          = { mesh = var.name }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 5
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  # Silence is what a dead controller says.
  treat_missing_data = "breaching"
  alarm_actions      = var.alarm_topic_arns
  ok_actions         = var.alarm_topic_arns
  tags               = local.tags
}

resource "aws_cloudwatch_metric_alarm" "backups" {
  count = var.backup_days == 0 ? 0 : 1

  alarm_name          = "${var.name}-controller-backups"
  alarm_description   = "No backup of the controller came to its bucket for a day: journalctl -u picket-backup"
  namespace           = "Picket"
  metric_name         = "Backups"
  dimensions          = { mesh = var.name }
  statistic           = "Sum"
  period              = 86400
  evaluation_periods  = 1
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  treat_missing_data  = "breaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
  tags                = local.tags
}

resource "aws_cloudwatch_metric_alarm" "instance" {
  for_each = local.controllers

  alarm_name          = each.key == "first" ? "${var.name}-controller-instance" : "${var.name}-controller-${each.key}-instance"
  alarm_description   = "The controller's instance fails AWS's own checks"
  namespace           = "AWS/EC2"
  metric_name         = "StatusCheckFailed"
  dimensions          = { InstanceId = aws_instance.this[each.key].id }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 3
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "breaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
  tags                = local.tags
}

moved {
  from = aws_cloudwatch_metric_alarm.instance
  to   = aws_cloudwatch_metric_alarm.instance["first"]
}
