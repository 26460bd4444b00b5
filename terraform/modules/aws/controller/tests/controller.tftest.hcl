# What holds of every controller, whatever the inputs. No cloud is asked.

mock_provider "aws" {
  source = "../common/mocks"
}

variables {
  name                   = "mesh"
  vpc_id                 = "vpc-0123456789abcdef0"
  subnet_id              = "subnet-0123456789abcdef0"
  balancer_subnet_ids    = { a = "subnet-0123456789abcdef1", b = "subnet-0123456789abcdef2" }
  agents_prefix_list_ids = { all = "pl-0123456789abcdef0" }
  ami_id                 = "ami-0123456789abcdef0"
}

run "by_default" {
  assert {
    condition     = aws_instance.this["first"].metadata_options[0].http_tokens == "required" && aws_instance.this["first"].metadata_options[0].http_put_response_hop_limit == 1
    error_message = "metadata are to be had without a token, or from further than the instance"
  }
  assert {
    condition     = !aws_instance.this["first"].associate_public_ip_address
    error_message = "the controller has a public address"
  }
  assert {
    condition     = aws_instance.this["first"].root_block_device[0].encrypted && aws_ebs_volume.state["first"].encrypted && aws_ebs_volume.state["first"].final_snapshot
    error_message = "a volume is in the clear, or goes without a snapshot"
  }
  assert {
    condition     = alltrue([for rule in aws_vpc_security_group_ingress_rule.instance : rule.cidr_ipv4 == null && rule.cidr_ipv6 == null && rule.prefix_list_id == null])
    error_message = "the instance lets in others than the balancer"
  }
  assert {
    condition     = join(" ", keys(aws_vpc_security_group_ingress_rule.instance)) == "7443"
    error_message = "another port than the agents' is open; operators and health are for loopback"
  }
  assert {
    condition     = aws_lb_listener.agents.tcp_idle_timeout_seconds > 25 && tobool(aws_lb_target_group.agents.preserve_client_ip)
    error_message = "the balancer forgets flows before they are kept alive, or hides who comes"
  }
  assert {
    condition     = length(aws_lb_listener.hooks) == 0 && length(aws_secretsmanager_secret.hooks) == 0 && output.hook_url == null
    error_message = "hooks are on without being asked for"
  }
  assert {
    condition     = aws_s3_bucket_versioning.backups[0].versioning_configuration[0].status == "Enabled" && aws_s3_bucket_public_access_block.backups[0].restrict_public_buckets
    error_message = "backups can be overwritten, or are public"
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.alarms.treat_missing_data == "breaching" && aws_cloudwatch_metric_alarm.backups[0].treat_missing_data == "breaching"
    error_message = "a dead controller, or one without backups, raises no alarm"
  }
  assert {
    condition     = strcontains(aws_instance.this["first"].user_data, "MetricName=Backups,Dimensions=[{Name=mesh,Value=mesh}]") && strcontains(aws_instance.this["first"].user_data, "timer backup '00/6:00' 900")
    error_message = "backups do not say that they came"
  }
  assert {
    condition     = strcontains(output.configuration, "operators = \"127.0.0.1:7444\"") && strcontains(output.configuration, "health = \"127.0.0.1:7445\"")
    error_message = "operators' port or health are not on loopback alone"
  }
  assert {
    condition     = !strcontains(output.configuration, "[policy]") && !strcontains(output.configuration, "hooks")
    error_message = "the configuration has what nobody asked for"
  }
}

run "with_all_of_it" {
  variables {
    admin_networks      = ["203.0.113.0/28"]
    aws_certificates    = { eu-central-1 = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n" }
    sts_issuer          = "https://abc.tokens.sts.global.api.aws"
    extra_configuration = "[leases]\nsentry_seconds = 3600\n"
    enroll = [
      { name = "edge", proof = "aws-document", account = "123456789012", regions = ["eu-central-1"], images = ["ami-0123456789abcdef0"], max_nodes = 5, names = "mesh-*", pool = "edge" },
      { name = "edge-sts", proof = "aws-sts", account = "123456789012", claims = { sub = "arn:aws:iam::123456789012:role/edge" }, max_nodes = 5 },
    ]
    hooks = {
      host             = "hooks.example.org"
      certificate_arn  = "arn:aws:acm:eu-central-1:123456789012:certificate/0123"
      zone_id          = "Z0123"
      prefix_list_ids  = { all = "pl-0123456789abcdef1" }
      groups           = [{ account = "123456789012", regions = ["eu-central-1"], groups = ["mesh-*"] }]
      autoscaling_arns = ["arn:aws:autoscaling:eu-central-1:123456789012:autoScalingGroup:*:autoScalingGroupName/mesh-*"]
    }
  }
  # The configuration that the controller's own tests read.
  assert {
    condition     = output.configuration == file("../../../tests/controller.toml")
    error_message = "terraform/tests/controller.toml is not what the module writes"
  }
  assert {
    condition     = !strcontains(aws_instance.this["first"].user_data, data.aws_secretsmanager_random_password.hooks[0].random_password) && !strcontains(output.configuration, data.aws_secretsmanager_random_password.hooks[0].random_password)
    error_message = "a secret lies in user data or in the configuration"
  }
  assert {
    condition     = aws_lb_listener.hooks[0].protocol == "TLS" && aws_lb_target_group.hooks[0].protocol == "TLS"
    error_message = "hooks travel in the clear"
  }
  assert {
    condition     = output.hook_url == "https://hooks.example.org/v1/hooks/aws" && output.hook_secret == data.aws_secretsmanager_random_password.hooks[0].random_password
    error_message = "clouds would be sent elsewhere, or with another secret"
  }
}

run "several_on_postgresql" {
  variables {
    database           = { subnet_ids = { a = "subnet-0123456789abcdef3", b = "subnet-0123456789abcdef4" } }
    further_subnet_ids = { second = "subnet-0123456789abcdef3", third = "subnet-0123456789abcdef4" }
  }
  assert {
    condition     = join(" ", keys(aws_instance.this)) == "first second third" && alltrue([for name, instance in aws_instance.this : instance.metadata_options[0].http_tokens == "required" && instance.metadata_options[0].http_put_response_hop_limit == 1 && !instance.associate_public_ip_address && instance.root_block_device[0].encrypted && aws_ebs_volume.state[name].encrypted])
    error_message = "a further controller is not kept as the first is"
  }
  assert {
    condition     = join(" ", keys(aws_lb_target_group_attachment.agents)) == "first second third" && tobool(aws_lb_target_group.agents.connection_termination)
    error_message = "hosts do not reach every controller, or hang on one that is away"
  }
  assert {
    condition     = aws_db_instance.this[0].storage_encrypted && aws_db_instance.this[0].multi_az && !aws_db_instance.this[0].publicly_accessible && aws_db_instance.this[0].deletion_protection && !aws_db_instance.this[0].skip_final_snapshot && aws_db_instance.this[0].backup_retention_period == 14
    error_message = "the database is in the clear, in one zone, public, or can be lost"
  }
  assert {
    condition     = aws_db_instance.this[0].manage_master_user_password && aws_db_instance.this[0].password == null
    error_message = "Terraform has the database's password"
  }
  assert {
    condition     = anytrue([for parameter in aws_db_parameter_group.this[0].parameter : parameter.name == "rds.force_ssl" && parameter.value == "1"])
    error_message = "the database may be spoken to in the clear"
  }
  assert {
    condition     = aws_vpc_security_group_ingress_rule.database[0].referenced_security_group_id == aws_security_group.instance.id && aws_vpc_security_group_ingress_rule.database[0].cidr_ipv4 == null
    error_message = "others than the controllers reach the database"
  }
  # The configuration that the controller's own tests read.
  assert {
    condition     = output.configuration == file("../../../tests/controller-several.toml")
    error_message = "terraform/tests/controller-several.toml is not what the module writes"
  }
  assert {
    condition     = strcontains(aws_instance.this["first"].user_data, "put-secret-value") && !strcontains(aws_instance.this["second"].user_data, "put-secret-value") && strcontains(aws_instance.this["second"].user_data, "--query SecretBinary")
    error_message = "the first does not give its CA, or another makes one"
  }
  assert {
    condition     = strcontains(aws_instance.this["first"].user_data, "timer backup '00/6:00' 900") && !strcontains(aws_instance.this["second"].user_data, "timer backup")
    error_message = "nobody makes backups, or all do"
  }
  assert {
    condition     = strcontains(output.restart_command, "--max-concurrency 1") && length(output.instance_ids) == 3
    error_message = "all controllers would restart at once"
  }
}

run "one_controller_has_no_database" {
  assert {
    condition     = length(aws_db_instance.this) == 0 && length(aws_secretsmanager_secret.authority) == 0 && output.database_endpoint == null && !strcontains(output.configuration, "database")
    error_message = "a database that nobody asked for"
  }
}

run "several_without_a_database_are_refused" {
  command = plan
  variables {
    further_subnet_ids = { second = "subnet-0123456789abcdef3" }
  }
  expect_failures = [var.further_subnet_ids]
}

run "a_database_that_rds_would_refuse_is_refused" {
  command = plan
  variables {
    database = { subnet_ids = { a = "subnet-0123456789abcdef3" }, version = "12", storage_gib = 5 }
  }
  expect_failures = [var.database]
}

run "a_further_controller_called_as_the_first_is_refused" {
  command = plan
  variables {
    database           = { subnet_ids = { a = "subnet-0123456789abcdef3", b = "subnet-0123456789abcdef4" } }
    further_subnet_ids = { first = "subnet-0123456789abcdef3" }
  }
  expect_failures = [var.further_subnet_ids]
}

run "no_backups" {
  variables {
    backup_days = 0
  }
  assert {
    condition     = length(aws_s3_bucket.backups) == 0 && !strcontains(aws_instance.this["first"].user_data, "picket-backup")
    error_message = "a bucket, or a timer for it, that nobody asked for"
  }
}

run "bad_input_is_refused" {
  command = plan
  variables {
    name                   = "Mesh_1"
    balancer_subnet_ids    = {}
    agents_prefix_list_ids = { all = "0.0.0.0/0" }
    ami_id                 = "debian-12"
    release                = { url = "http://example.org/picket.tar.gz", sha256 = "abc" }
    volume_gib             = 1
    chain_network          = "eth"
    admin_networks         = ["0.0.0.0/0"]
    aws_certificates       = { eu-central-1 = "MIIB" }
    sts_issuer             = "http://abc"
    hooks                  = { host = "here", certificate_arn = "x", prefix_list_ids = {}, groups = [] }
    backup_days            = 1.5
  }
  expect_failures = [
    var.name, var.balancer_subnet_ids, var.agents_prefix_list_ids, var.ami_id, var.release, var.volume_gib, var.chain_network,
    var.admin_networks, var.aws_certificates, var.sts_issuer, var.hooks, var.backup_days,
  ]
}

run "hooks_that_could_answer_no_group_are_refused" {
  command = plan
  variables {
    hooks = {
      host            = "hooks.example.org"
      certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/0123"
      prefix_list_ids = {}
      groups          = [{ account = "123456789012", regions = ["eu-central-1"], groups = ["mesh-*"] }]
    }
  }
  expect_failures = [var.hooks]
}

run "a_rule_for_any_instance_of_an_account_is_refused" {
  command = plan
  variables {
    enroll = [{ name = "any", proof = "aws-document", account = "123456789012", max_nodes = 5 }]
  }
  expect_failures = [var.enroll]
}

run "a_rule_whose_proof_cannot_be_verified_is_refused" {
  command = plan
  variables {
    enroll = [
      { name = "a", proof = "aws-document", account = "123456789012", regions = ["eu-west-1"], max_nodes = 5 },
      { name = "b", proof = "aws-sts", account = "123456789012", max_nodes = 5 },
    ]
  }
  expect_failures = [var.aws_certificates, var.sts_issuer]
}

run "a_section_that_is_written_already_is_refused" {
  command = plan
  variables {
    extra_configuration = "[leases]\nsentry_seconds = 60\n[[enroll]]\n"
  }
  expect_failures = [var.extra_configuration]
}

run "two_policies_are_refused" {
  command = plan
  variables {
    admin_networks      = ["203.0.113.0/28"]
    extra_configuration = "[policy]\nlag_blocks = 10\n"
  }
  expect_failures = [var.extra_configuration]
}
