# Sentries: a launch template and a group. An instance joins by what AWS says of it, and leaves by itself when it is stopped.

data "aws_region" "current" {}
data "aws_caller_identity" "current" {}

locals {
  tags   = merge(var.tags, { "picket:mesh" = var.name, "picket:pool" = var.pool })
  prefix = "${var.name}-${var.pool}"
  region = data.aws_region.current.name
  rule   = "${local.prefix}-${local.region}"
  # An instance of a warm pool may be stopped for a month before it joins.
  join_seconds = var.warm_pool == null ? var.join_seconds : 30 * 86400
  is_mixed     = length(var.instance_types) > 1 || var.spot.on_demand_percent < 100

  install = templatefile("${path.module}/../common/install.sh.tftpl", {
    release  = var.release
    programs = ["picket-sentry-agent"]
    packages = { apt = ["nftables", "iproute2"], dnf = ["nftables", "iproute", "tar", "gzip"] }
  })

  user_data = templatefile("${path.module}/templates/user_data.sh.tftpl", {
    install     = local.install
    setup       = var.setup
    prefix      = local.prefix
    region      = local.region
    controller  = var.controller_url
    fingerprint = var.ca_fingerprint
    proof       = var.proof
    health_port = var.health_port
    node_url    = var.node_url
  })
}

resource "aws_launch_template" "this" {
  # checkov:skip=CKV_AWS_88:validators dial each sentry at its own public address
  name_prefix            = "${local.prefix}-"
  description            = "Picket sentry"
  image_id               = var.ami_id
  instance_type          = var.instance_types[0]
  user_data              = base64encode(local.user_data)
  update_default_version = true
  ebs_optimized          = true
  tags                   = local.tags

  iam_instance_profile {
    arn = aws_iam_instance_profile.this.arn
  }

  metadata_options {
    http_endpoint = "enabled"
    # One hop: containers of a node on this host cannot show the instance's proof as theirs.
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
    instance_metadata_tags      = "disabled"
  }

  monitoring {
    enabled = true
  }

  network_interfaces {
    associate_public_ip_address = true
    delete_on_termination       = true
    security_groups             = [aws_security_group.instance.id]
  }

  block_device_mappings {
    # Its name in Amazon Linux and in Debian's images.
    device_name = "/dev/xvda"

    ebs {
      volume_size           = var.volume_gib
      volume_type           = "gp3"
      encrypted             = true
      kms_key_id            = var.kms_key_arn
      delete_on_termination = true
    }
  }

  dynamic "tag_specifications" {
    for_each = ["instance", "volume", "network-interface"]

    content {
      resource_type = tag_specifications.value
      tags          = merge(local.tags, { Name = local.prefix })
    }
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_autoscaling_group" "this" {
  name                      = local.prefix
  min_size                  = var.sizes.min
  max_size                  = var.sizes.max
  desired_capacity          = var.sizes.desired
  vpc_zone_identifier       = values(var.subnet_ids)
  target_group_arns         = [for group in aws_lb_target_group.this : group.arn]
  health_check_type         = "ELB"
  health_check_grace_period = var.grace_seconds
  default_instance_warmup   = 120
  # Another instance comes up before a spot instance is taken away.
  capacity_rebalance = local.is_mixed
  # The oldest go first, so that a change of the template is through one day without anybody's doing.
  termination_policies = ["OldestLaunchTemplate", "OldestInstance"]
  # Instances wait for the controller's word; Terraform does not wait with them.
  wait_for_capacity_timeout = "0"
  enabled_metrics           = ["GroupInServiceInstances", "GroupPendingInstances", "GroupTerminatingInstances"]

  dynamic "launch_template" {
    for_each = local.is_mixed ? [] : [aws_launch_template.this]

    content {
      id      = launch_template.value.id
      version = launch_template.value.latest_version
    }
  }

  dynamic "mixed_instances_policy" {
    for_each = local.is_mixed ? [aws_launch_template.this] : []

    content {
      instances_distribution {
        on_demand_base_capacity                  = var.spot.on_demand_base
        on_demand_percentage_above_base_capacity = var.spot.on_demand_percent
        spot_allocation_strategy                 = "price-capacity-optimized"
      }

      launch_template {
        launch_template_specification {
          launch_template_id = mixed_instances_policy.value.id
          version            = mixed_instances_policy.value.latest_version
        }

        dynamic "override" {
          for_each = var.instance_types

          content {
            instance_type = override.value
          }
        }
      }
    }
  }

  dynamic "warm_pool" {
    for_each = var.warm_pool == null ? [] : [var.warm_pool]

    content {
      pool_state = "Stopped"
      min_size   = warm_pool.value.min

      # What comes back from the mesh has left it for good.
      instance_reuse_policy {
        reuse_on_scale_in = false
      }
    }
  }

  # AWS stops what goes into the pool as soon as nothing holds it, in the midst of its setup if need be, and the lifecycle module's
  # hook comes after the group's first instances. This one has its name, so that the module's takes its place.
  dynamic "initial_lifecycle_hook" {
    for_each = var.warm_pool == null ? [] : [var.warm_pool]

    content {
      name                 = "picket-up"
      lifecycle_transition = "autoscaling:EC2_INSTANCE_LAUNCHING"
      heartbeat_timeout    = 300
      default_result       = "CONTINUE"
    }
  }

  # A changed template replaces the group bit by bit: first a new sentry, then an old one goes. No roll-back by AWS: the provider has
  # changed the group before the refresh begins, so what it would go back to is the new template.
  instance_refresh {
    strategy = "Rolling"

    preferences {
      min_healthy_percentage = 100
      max_healthy_percentage = 150
      instance_warmup        = 120
    }
  }

  dynamic "tag" {
    for_each = merge(local.tags, { Name = local.prefix })

    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = true
    }
  }

  lifecycle {
    # Scaling decides after the start.
    ignore_changes = [desired_capacity]
  }
}
