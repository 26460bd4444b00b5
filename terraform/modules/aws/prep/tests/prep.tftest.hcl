# What holds of every validator's host, whatever the inputs. No cloud is asked.

mock_provider "aws" {
  source = "../common/mocks"
}

variables {
  name           = "mesh"
  vpc_id         = "vpc-0123456789abcdef0"
  subnet_id      = "subnet-0123456789abcdef0"
  controller_url = "https://mock.elb.eu-central-1.amazonaws.com:7443"
  ami_id         = "ami-0123456789abcdef0"
  egress = {
    wireguard = { prefix_list_id = "pl-0123456789abcdef0", protocol = "udp", port = 51820 }
    p2p       = { prefix_list_id = "pl-0123456789abcdef1", protocol = "tcp", port = 7100 }
  }
}

run "by_default" {
  # There is no resource of an ingress rule in this module; a rule within the group would show here.
  assert {
    condition     = length(aws_security_group.this.ingress) == 0
    error_message = "somebody is let in"
  }
  assert {
    condition     = alltrue([for rule in aws_vpc_security_group_egress_rule.this : rule.cidr_ipv4 == null && rule.cidr_ipv6 == null && rule.prefix_list_id != null])
    error_message = "a way out is given by address and not by a prefix list"
  }
  assert {
    condition     = !aws_instance.this.associate_public_ip_address
    error_message = "the validator has a public address"
  }
  assert {
    condition     = aws_instance.this.metadata_options[0].http_tokens == "required" && aws_instance.this.metadata_options[0].http_put_response_hop_limit == 1
    error_message = "metadata are to be had without a token, or from further than the instance"
  }
  assert {
    condition     = aws_instance.this.root_block_device[0].encrypted && !aws_instance.this.root_block_device[0].delete_on_termination && aws_instance.this.disable_api_termination
    error_message = "the volume is in the clear, or goes with the instance"
  }
  assert {
    condition     = !can(regex("picket1\\.|PICKET_JOIN_TOKEN|PICKET_GOLOOP", aws_instance.this.user_data))
    error_message = "user data has a token, or a goloop that nobody named"
  }
  assert {
    condition     = strcontains(aws_instance.this.user_data, "picket-prep-agent lockdown")
    error_message = "the host is open until it joins"
  }
}

run "beside_its_goloop" {
  variables {
    goloop_url = "http://127.0.0.1:9080"
  }
  assert {
    condition     = strcontains(output.user_data, "PICKET_GOLOOP=http://127.0.0.1:9080")
    error_message = "the agent is not told of its goloop"
  }
}

run "bad_input_is_refused" {
  command = plan
  variables {
    name           = "Mesh_1"
    host_name      = "P 1"
    controller_url = "http://controller"
    ami_id         = "debian-12"
    release        = { url = "http://example.org/picket.tar.gz", sha256 = "abc" }
    volume_gib     = 1
    goloop_url     = "http://192.0.2.1:9080"
    egress         = { all = { prefix_list_id = "0.0.0.0/0", protocol = "-1", port = 0 } }
  }
  expect_failures = [
    var.name, var.host_name, var.controller_url, var.ami_id, var.release, var.volume_gib, var.goloop_url, var.egress,
  ]
}

run "a_validator_that_could_dial_no_sentry_is_refused" {
  command = plan
  variables {
    egress = { p2p = { prefix_list_id = "pl-0123456789abcdef1", protocol = "tcp", port = 7100 } }
  }
  expect_failures = [var.egress]
}
