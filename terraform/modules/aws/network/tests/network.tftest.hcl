# What holds of every network, whatever the inputs. No cloud is asked.

mock_provider "aws" {
  source = "../common/mocks"
}

variables {
  name  = "mesh"
  zones = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
}

run "what_is_made" {
  assert {
    condition     = length(aws_subnet.public) == 3 && length(aws_subnet.private) == 3
    error_message = "not one public and one private subnet in each zone"
  }
  assert {
    condition     = alltrue([for subnet in aws_subnet.public : !subnet.map_public_ip_on_launch])
    error_message = "a subnet gives public addresses to who did not ask"
  }
  assert {
    condition     = length(distinct(concat(values(local.public), values(local.private)))) == 6
    error_message = "subnets share addresses"
  }
  assert {
    condition     = aws_kms_key.this.enable_key_rotation
    error_message = "the key is never rotated"
  }
  assert {
    condition     = aws_cloudwatch_log_group.flow[0].kms_key_id == aws_kms_key.this.arn && aws_flow_log.this[0].traffic_type == "ALL"
    error_message = "flow logs are in the clear, or not of all traffic"
  }
  assert {
    condition     = length(aws_default_security_group.closed.ingress) == 0 && length(aws_default_security_group.closed.egress) == 0
    error_message = "the VPC's own group lets something through"
  }
  assert {
    condition     = length(aws_ec2_managed_prefix_list.this["rpc"].entry) == 0
    error_message = "RPC is open to somebody whom nobody named"
  }
  assert {
    condition     = length(aws_nat_gateway.this) == 1
    error_message = "more or fewer gateways than one by default"
  }
}

run "a_new_zone_moves_no_subnet" {
  variables {
    zones = ["eu-central-1a", "eu-central-1b", "eu-central-1c", "eu-central-1d"]
  }
  assert {
    condition     = local.public["eu-central-1a"] == "10.40.0.0/20" && local.private["eu-central-1a"] == "10.40.128.0/20"
    error_message = "the first zone's subnets moved"
  }
}

run "a_gateway_in_each_zone" {
  variables {
    nat = "per-zone"
  }
  assert {
    condition     = length(aws_nat_gateway.this) == 3 && length(aws_eip.nat) == 3
    error_message = "not one gateway in each zone"
  }
}

run "no_way_out_and_no_logs" {
  variables {
    nat           = "none"
    flow_log_days = 0
  }
  assert {
    condition     = length(aws_nat_gateway.this) == 0 && length(aws_route.nat) == 0 && length(aws_flow_log.this) == 0
    error_message = "something is made that nobody asked for"
  }
}

run "bad_input_is_refused" {
  command = plan
  variables {
    name          = "Mesh_1"
    cidr          = "10.40.0.0/28"
    zones         = ["eu-central-1a"]
    nat           = "two"
    flow_log_days = 2
    prefix_lists  = { rpc = { cidrs = { "anywhere" = "x" }, max_entries = 1 } }
  }
  expect_failures = [var.name, var.cidr, var.zones, var.nat, var.flow_log_days, var.prefix_lists]
}

run "a_list_longer_than_it_may_be_is_refused" {
  command = plan
  variables {
    prefix_lists = { rpc = { cidrs = { "192.0.2.0/24" = "a", "198.51.100.0/24" = "b" }, max_entries = 1 } }
  }
  expect_failures = [var.prefix_lists]
}
