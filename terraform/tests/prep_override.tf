# As controller_override.tf, beside what the module ignores by itself.
resource "aws_instance" "this" {
  associate_public_ip_address = null

  lifecycle {
    ignore_changes = [ami, user_data, maintenance_options]
  }
}
