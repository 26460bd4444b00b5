# What holds of every group of sentries, whatever the inputs. No cloud is asked.

mock_provider "aws" {
  source = "../common/mocks"
}

variables {
  name           = "mesh"
  vpc_id         = "vpc-0123456789abcdef0"
  subnet_ids     = { a = "subnet-0123456789abcdef1", b = "subnet-0123456789abcdef2" }
  controller_url = "https://mock.elb.eu-central-1.amazonaws.com:7443"
  ca_fingerprint = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
  ami_id         = "ami-0123456789abcdef0"
  ports = {
    p2p = { port = 7100, prefix_list_ids = { all = "pl-0123456789abcdef0" } }
    rpc = { port = 9000, prefix_list_ids = { all = "pl-0123456789abcdef1" } }
  }
  wireguard_prefix_list_ids = { all = "pl-0123456789abcdef2" }
}

run "by_default" {
  assert {
    condition     = aws_launch_template.this.metadata_options[0].http_tokens == "required" && aws_launch_template.this.metadata_options[0].http_put_response_hop_limit == 1
    error_message = "metadata are to be had without a token, or from further than the instance"
  }
  assert {
    condition     = alltrue([for device in aws_launch_template.this.block_device_mappings : tobool(device.ebs[0].encrypted)])
    error_message = "a volume is in the clear"
  }
  assert {
    condition     = length(aws_iam_role_policy.own_identity) == 0
    error_message = "a sentry that shows its document has a right that it does not need"
  }
  assert {
    condition     = alltrue([for rule in concat(values(aws_vpc_security_group_ingress_rule.balancer), values(aws_vpc_security_group_ingress_rule.instance), values(aws_vpc_security_group_ingress_rule.wireguard)) : rule.cidr_ipv4 == null && rule.cidr_ipv6 == null])
    error_message = "somebody is let in by address and not by a prefix list or a group"
  }
  assert {
    condition     = alltrue([for rule in values(aws_vpc_security_group_ingress_rule.instance) : rule.referenced_security_group_id == aws_security_group.balancer.id && rule.from_port == rule.to_port && rule.from_port != 22])
    error_message = "a sentry lets in others than the balancer, or SSH"
  }
  assert {
    condition     = alltrue([for listener in aws_lb_listener.this : listener.tcp_idle_timeout_seconds > 25])
    error_message = "the balancer forgets flows before they are kept alive"
  }
  assert {
    condition     = alltrue([for group in aws_lb_target_group.this : tobool(group.preserve_client_ip) && group.health_check[0].path == "/ready" && group.health_check[0].protocol == "HTTP"])
    error_message = "sources are hidden, or health is an open port and not /ready"
  }
  assert {
    condition     = aws_autoscaling_group.this.health_check_type == "ELB" && aws_autoscaling_group.this.capacity_rebalance
    error_message = "a sentry that is not ready stays, or spot instances go before others come"
  }
  assert {
    condition     = aws_autoscaling_group.this.instance_refresh[0].preferences[0].min_healthy_percentage == 100
    error_message = "a refresh takes sentries before it brings others"
  }
  assert {
    condition     = length(aws_autoscaling_group.this.warm_pool) == 0 && aws_autoscaling_group.this.mixed_instances_policy[0].instances_distribution[0].on_demand_percentage_above_base_capacity == 100
    error_message = "a warm pool or spot instances that nobody asked for"
  }
  assert {
    condition     = length(aws_autoscaling_group.this.initial_lifecycle_hook) == 0
    error_message = "instances wait for a word that nobody gives"
  }
  assert {
    condition     = alltrue([for group in aws_lb_target_group.this : endswith(group.name, "-${group.port}")])
    error_message = "another port would be a group of the same name, which AWS refuses"
  }
  assert {
    condition     = strcontains(output.user_data, "keep_trying packages\n") && strcontains(output.user_data, "StandardError=journal+console")
    error_message = "an instance whose way out is late never joins, or nobody sees why it did not"
  }
  assert {
    condition     = length(aws_autoscaling_policy.cpu) == 1 && length(aws_autoscaling_policy.network) == 0 && length(aws_autoscaling_policy.reported) == 0
    error_message = "it is scaled by other things than CPU"
  }
  assert {
    condition     = alltrue([for alarm in concat(values(aws_cloudwatch_metric_alarm.unhealthy), [aws_cloudwatch_metric_alarm.few]) : alarm.evaluation_periods == 5]) && aws_cloudwatch_metric_alarm.few.treat_missing_data == "breaching" && aws_cloudwatch_metric_alarm.few.threshold == var.sizes.min
    error_message = "sentries may be missing without an alarm"
  }
  assert {
    condition     = length(aws_eip.balancer) == 2
    error_message = "the balancer's addresses do not stay"
  }
  # The command lines that the agent's own tests read.
  assert {
    condition     = output.user_data == file("../../../tests/sentry-user-data.sh")
    error_message = "terraform/tests/sentry-user-data.sh is not what the module writes"
  }
  assert {
    condition     = !can(regex("(?i)picket1\\.|secret|--token", replace(output.user_data, "There is no secret in it", "")))
    error_message = "user data seems to have a secret"
  }
  assert {
    condition     = join(" ", output.enroll_rule.images) == "ami-0123456789abcdef0" && join(" ", output.enroll_rule.regions) == "eu-central-1" && output.enroll_rule.launch_age_seconds == 900 && output.enroll_rule.role == "sentry"
    error_message = "the rule lets in more than this group"
  }
}

run "by_its_role" {
  variables {
    proof = "aws-sts"
  }
  assert {
    condition     = length(aws_iam_role_policy.own_identity) == 1 && length(data.aws_iam_policy_document.own_identity[0].statement) == 1 && data.aws_iam_policy_document.own_identity[0].statement[0].actions == toset(["sts:GetWebIdentityToken"])
    error_message = "the role may do more than prove itself"
  }
  assert {
    condition     = output.enroll_rule.claims.sub == aws_iam_role.this.arn && strcontains(output.user_data, "--proof aws-sts")
    error_message = "the rule is not of this group's role"
  }
}

run "ready_with_its_node" {
  variables {
    node_url      = "http://127.0.0.1:9080"
    grace_seconds = 3600
  }
  assert {
    condition     = strcontains(output.user_data, "Environment=PICKET_NODE=http://127.0.0.1:9080\n") && strcontains(output.user_data, "Environment=PICKET_READY=0.0.0.0:7480\n") && aws_autoscaling_group.this.health_check_grace_period == 3600
    error_message = "a sentry whose node does not work is ready, or has no time to start it"
  }
}

run "a_node_elsewhere_is_refused" {
  command = plan
  variables {
    node_url      = "http://192.0.2.1:9080"
    grace_seconds = 1
  }
  expect_failures = [var.node_url, var.grace_seconds]
}

run "scaled_by_what_the_mesh_reports" {
  variables {
    scaling = { tracked_percent = 60, stopped_packets = 5000 }
  }
  assert {
    condition     = length(aws_autoscaling_policy.cpu) == 0 && join(" ", keys(aws_autoscaling_policy.reported)) == "StoppedPacketsPerSecond TrackedConnectionsPercent"
    error_message = "it is scaled by other things than what was asked for"
  }
  assert {
    condition     = length(aws_autoscaling_policy.reported) == 2 && alltrue([for policy in aws_autoscaling_policy.reported : policy.target_tracking_configuration[0].customized_metric_specification[0].namespace == "Picket" && { for of in policy.target_tracking_configuration[0].customized_metric_specification[0].metric_dimension : of.name => of.value } == { mesh = "mesh", pool = "edge" }])
    error_message = "the controller writes its metrics elsewhere"
  }
}

run "a_release_runs_only_as_its_sum_says" {
  variables {
    release = { url = "https://releases.example.org/picket.tar.gz", sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" }
  }
  assert {
    condition     = strcontains(output.user_data, "echo \"${var.release.sha256}  $archive\" | sha256sum --check --quiet -\ntar ") && strcontains(output.user_data, "--proto '=https'")
    error_message = "a release is unpacked before it is held against its sum"
  }
}

run "scaling_that_comes_too_late_is_refused" {
  command = plan
  variables {
    scaling = { tracked_percent = 80, stopped_packets = 0 }
  }
  expect_failures = [var.scaling]
}

run "spot_instances" {
  variables {
    spot = { on_demand_base = 1, on_demand_percent = 0 }
  }
  assert {
    condition     = aws_autoscaling_group.this.mixed_instances_policy[0].instances_distribution[0].on_demand_base_capacity == 1
    error_message = "a market without spot instances leaves no sentry"
  }
}

run "a_warm_pool" {
  variables {
    instance_types = ["c6i.large"]
    warm_pool      = { min = 1 }
  }
  assert {
    condition     = length(aws_autoscaling_group.this.mixed_instances_policy) == 0 && aws_autoscaling_group.this.warm_pool[0].min_size == 1
    error_message = "no warm pool, or one of a mixed group"
  }
  assert {
    condition     = one(aws_autoscaling_group.this.initial_lifecycle_hook).name == "picket-up" && one(aws_autoscaling_group.this.initial_lifecycle_hook).default_result == "CONTINUE"
    error_message = "AWS may stop the pool's first instances in the midst of their setup"
  }
  assert {
    condition     = output.enroll_rule.launch_age_seconds > 900
    error_message = "an instance that waited in the pool could not join"
  }
}

run "no_static_addresses" {
  variables {
    static_addresses = false
  }
  assert {
    condition     = length(aws_eip.balancer) == 0 && length(output.balancer_addresses) == 0
    error_message = "addresses that nobody asked for"
  }
}

run "instances_of_the_image_of_before_may_join_still" {
  command = plan
  variables {
    former_ami_ids = ["ami-0fedcba9876543210", "ami-0123456789abcdef0"]
  }
  assert {
    condition     = join(" ", output.enroll_rule.images) == "ami-0123456789abcdef0 ami-0fedcba9876543210"
    error_message = "the rule does not have both images, each once"
  }
}

run "bad_input_is_refused" {
  command = plan
  variables {
    pool                      = "a pool"
    subnet_ids                = {}
    controller_url            = "http://controller"
    ca_fingerprint            = "abc"
    proof                     = "token"
    ami_id                    = "debian-12"
    former_ami_ids            = ["debian-11"]
    release                   = { url = "http://example.org/picket.tar.gz", sha256 = "abc" }
    instance_types            = []
    sizes                     = { min = 0, max = 1, desired = 1 }
    spot                      = { on_demand_base = 0, on_demand_percent = 0 }
    ports                     = { ssh = { port = 22, prefix_list_ids = { all = "0.0.0.0/0" } } }
    wireguard_prefix_list_ids = {}
    health_port               = 80
    idle_seconds              = 25
    scaling                   = { cpu_percent = 100 }
    join_seconds              = 1
    volume_gib                = 1
  }
  expect_failures = [
    var.pool, var.subnet_ids, var.controller_url, var.ca_fingerprint, var.proof, var.ami_id, var.former_ami_ids, var.release,
    var.instance_types, var.sizes, var.spot, var.ports, var.wireguard_prefix_list_ids, var.idle_seconds, var.scaling,
    var.join_seconds, var.volume_gib,
  ]
}

run "a_health_port_that_is_passed_on_is_refused" {
  command = plan
  variables {
    health_port = 7100
  }
  expect_failures = [var.health_port]
}

run "a_warm_pool_of_spot_instances_is_refused" {
  command = plan
  variables {
    warm_pool = { min = 1 }
  }
  expect_failures = [var.warm_pool]
}

run "one_port_twice_is_refused" {
  command = plan
  variables {
    ports = {
      p2p   = { port = 7100, prefix_list_ids = {} }
      again = { port = 7100, prefix_list_ids = {} }
    }
  }
  expect_failures = [var.ports]
}

run "names_too_long_for_a_balancer_are_refused" {
  command = plan
  variables {
    name = "a-mesh-with-a-long-n"
    pool = "and-a-pool"
  }
  expect_failures = [var.pool]
}

run "a_bad_name_is_refused" {
  command = plan
  variables {
    name = "Mesh_1"
  }
  expect_failures = [var.name]
}
