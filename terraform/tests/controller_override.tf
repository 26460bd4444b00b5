# Laid beside the module for moto, which gives every instance a public address and would have Terraform replace it at once, and forgets
# how an instance is recovered, for which Terraform would wait. That ours have no address is tested with the mocked provider.
resource "aws_instance" "this" {
  associate_public_ip_address = null

  lifecycle {
    ignore_changes = [maintenance_options]
  }
}

# It forgets mappings of subnets too, and does not take them when they are set anew.
resource "aws_lb" "this" {
  lifecycle {
    ignore_changes = [subnet_mapping, subnets]
  }
}
