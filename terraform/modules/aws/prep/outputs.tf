output "instance_id" {
  description = "The instance: `aws ssm start-session --target …`."
  value       = aws_instance.this.id
}

output "join_commands" {
  description = "To run in a session on the instance, once, with a token of `picket token create --role prep --uses 1 --ttl 15m`: the second reads the token without showing it, which the shell of a session cannot on Debian."
  value       = <<-TEXT
    bash
    read -rs PICKET_JOIN_TOKEN && export PICKET_JOIN_TOKEN
    sudo --preserve-env=PICKET_JOIN_TOKEN picket-prep-agent enroll --controller ${var.controller_url} --name ${var.host_name}
    sudo systemctl start picket-prep-agent
  TEXT
}

output "security_group_id" {
  description = "The group, which lets nobody in."
  value       = aws_security_group.this.id
}

output "user_data" {
  description = "What the instance runs at its first boot. No secret."
  value       = local.user_data
}
