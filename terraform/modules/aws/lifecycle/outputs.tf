output "hook_names" {
  description = "The hooks of each group: launching, terminating."
  value       = { launch = "picket-up", terminate = "picket-down" }
}

output "rule_arn" {
  description = "The rule of EventBridge."
  value       = aws_cloudwatch_event_rule.this.arn
}

output "undelivered_queue_url" {
  description = "Queue of messages that could not be delivered in an hour."
  value       = aws_sqs_queue.undelivered.url
}
