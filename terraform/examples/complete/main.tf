# Everything in one region: network, controller, autoscaled sentries with hooks, and a validator's host where you want one.

provider "aws" {
  region = var.region
}

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

locals {
  partition = data.aws_partition.current.partition
  account   = data.aws_caller_identity.current.account_id
}

module "network" {
  source = "../../modules/aws/network"

  name  = var.name
  zones = var.zones

  prefix_lists = {
    p2p       = { cidrs = { "0.0.0.0/0" = "every validator; each host knows which" }, max_entries = 2 }
    rpc       = { cidrs = var.rpc_networks, max_entries = 20 }
    wireguard = { cidrs = { "0.0.0.0/0" = "validators dial in; WireGuard is silent to who has no key" }, max_entries = 2 }
    hooks     = { cidrs = { "0.0.0.0/0" = "EventBridge has no published addresses; each message is verified" }, max_entries = 2 }
    out       = { cidrs = { "0.0.0.0/0" = "whither validators may open connections" }, max_entries = 10 }
    agents    = { cidrs = { "0.0.0.0/0" = "every host of the mesh; TLS on both sides" }, max_entries = 2 }
  }
}

module "controller" {
  source = "../../modules/aws/controller"

  name                   = var.name
  vpc_id                 = module.network.vpc_id
  subnet_id              = module.network.private_subnet_ids[var.zones[0]]
  database               = var.several ? { subnet_ids = module.network.private_subnet_ids } : null
  further_subnet_ids     = var.several ? { second = module.network.private_subnet_ids[var.zones[1]] } : {}
  balancer_subnet_ids    = module.network.public_subnet_ids
  agents_prefix_list_ids = { all = module.network.prefix_list_ids["agents"] }
  ami_id                 = var.ami_id
  release                = var.release
  kms_key_arn            = module.network.kms_key_arn
  admin_networks         = var.admin_networks
  aws_certificates       = var.aws_certificates
  enroll                 = module.sentries[*].enroll_rule
  extra_configuration    = var.extra_configuration
  alarm_topic_arns       = [aws_sns_topic.alarms.arn]
  deletion_protection    = var.deletion_protection

  hooks = var.hooks == null ? null : {
    host             = var.hooks.host
    certificate_arn  = var.hooks.certificate_arn
    zone_id          = var.hooks.zone_id
    prefix_list_ids  = { all = module.network.prefix_list_ids["hooks"] }
    groups           = [{ account = local.account, regions = [var.region], groups = ["${var.name}-*"] }]
    autoscaling_arns = ["arn:${local.partition}:autoscaling:${var.region}:${local.account}:autoScalingGroup:*:autoScalingGroupName/${var.name}-*"]
  }
}

module "sentries" {
  source = "../../modules/aws/sentries"
  count  = var.ca_fingerprint == null ? 0 : 1

  name                      = var.name
  vpc_id                    = module.network.vpc_id
  subnet_ids                = module.network.public_subnet_ids
  controller_url            = module.controller.url
  ca_fingerprint            = var.ca_fingerprint
  ami_id                    = var.ami_id
  former_ami_ids            = var.former_ami_ids
  release                   = var.release
  setup                     = var.setup
  node_url                  = var.node_url
  kms_key_arn               = module.network.kms_key_arn
  wireguard_prefix_list_ids = { all = module.network.prefix_list_ids["wireguard"] }
  scaling                   = { cpu_percent = 50, tracked_percent = 60 }
  alarm_topic_arns          = [aws_sns_topic.alarms.arn]
  deletion_protection       = var.deletion_protection

  ports = {
    p2p = { port = 7100, prefix_list_ids = { all = module.network.prefix_list_ids["p2p"] } }
    rpc = { port = 9000, prefix_list_ids = { all = module.network.prefix_list_ids["rpc"] } }
  }
}

module "lifecycle" {
  source = "../../modules/aws/lifecycle"
  count  = var.hooks == null || var.ca_fingerprint == null ? 0 : 1

  name             = var.name
  group_names      = { sentries = module.sentries[0].group_name }
  hook_url         = module.controller.hook_url
  hook_secret      = module.controller.hook_secret
  kms_key_arn      = module.network.kms_key_arn
  alarm_topic_arns = [aws_sns_topic.alarms.arn]
}

module "prep" {
  source = "../../modules/aws/prep"
  count  = var.validator ? 1 : 0

  name                = var.name
  vpc_id              = module.network.vpc_id
  subnet_id           = module.network.private_subnet_ids[var.zones[1]]
  controller_url      = module.controller.url
  ami_id              = var.ami_id
  release             = var.release
  kms_key_arn         = module.network.kms_key_arn
  alarm_topic_arns    = [aws_sns_topic.alarms.arn]
  deletion_protection = var.deletion_protection

  egress = {
    wireguard  = { prefix_list_id = module.network.prefix_list_ids["out"], protocol = "udp", port = 51820 }
    p2p        = { prefix_list_id = module.network.prefix_list_ids["out"], protocol = "tcp", port = 7100 }
    controller = { prefix_list_id = module.network.prefix_list_ids["out"], protocol = "tcp", port = 7443 }
    https      = { prefix_list_id = module.network.prefix_list_ids["out"], protocol = "tcp", port = 443 }
    packages   = { prefix_list_id = module.network.prefix_list_ids["out"], protocol = "tcp", port = 80 }
  }
}

resource "aws_sns_topic" "alarms" {
  name              = "${var.name}-alarms"
  kms_master_key_id = module.network.kms_key_arn
}

resource "aws_sns_topic_subscription" "alarms" {
  count = var.alarm_address == null ? 0 : 1

  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = var.alarm_address
}
